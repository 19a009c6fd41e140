#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# systemd takes the unit without a word, and says that little is exposed.
set -euo pipefail
bin=$(realpath "${OUTRIDER_BUILD:-build/release}/bin")
unit=packaging/systemd/outriderd.service
threshold=30 # tenths: 3.0
command -v systemd-analyze >/dev/null || { echo "no systemd-analyze"; exit 77; }
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# The programs where this build has them: systemd wants to see them.
sed -E "s#=/usr/s?bin/#=$bin/#" "$unit" >"$scratch/outriderd.service"
grep -c "^Exec.*=$bin/outrider" "$scratch/outriderd.service" >/dev/null
said=$(systemd-analyze verify --man=no "$scratch/outriderd.service" 2>&1) || true
if [[ -n $said ]]; then
  echo "WRONG: systemd-analyze verify says:"
  echo "$said"
  exit 1
fi
systemd-analyze security --offline=true --threshold=$threshold \
  "$scratch/outriderd.service" >"$scratch/security" 2>&1 || {
  cat "$scratch/security"
  exit 1
}
tail -n 1 "$scratch/security"
