#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Acceptance 3.5: agent and warden killed together, `outrider release` puts every
# knob back: by the table, and by the xattrs where the table is gone.
set -euo pipefail
bin=$(realpath "${OUTRIDER_BUILD:-build/release}/bin")
[[ -k /dev/shm && -w /dev/shm ]] || { echo "no tmpfs at /dev/shm"; exit 77; }
host=$(mktemp -d /dev/shm/outrider-release-XXXXXX)
trap 'rm -rf "$host"' EXIT
release() {
  "$bin/outrider" --socket "$host/none.sock" release --dir "$host/run" \
    --mount "$host/mount" "$@"
}
caps() { head -qn 1 "$host"/mount/*/cpu.max; }
# expect WHAT WANTED GOT
expect() {
  [[ $2 == "$3" ]] || { echo "WRONG: $1: want '$2', got '$3'"; exit 1; }
}

"$bin/kill_check" strand "$host"  # which sees to it that all are moved
before=$(caps)
for vm in {0..199}; do  # as kill_check makes them
  baseline=$((50000 + vm))
  [[ $((vm % 2)) -eq 1 ]] || baseline=max
  echo "vm$vm $baseline 100000"
done >"$host/wanted"
wrong_caps() {
  local vm
  for vm in {0..199}; do
    echo "vm$vm $(head -n 1 "$host/mount/vm$vm/cpu.max")"
  done | diff - "$host/wanted" | grep -c '^<' || true
}

expect "dry run" "200 of 200 knobs would be put back" \
  "$(release --dry-run | tail -1)"
expect "caps after the dry run" "$before" "$(caps)"
expect "release" "200 of 200 knobs put back" "$(release | tail -1)"
expect "caps left wrong" 0 "$(wrong_caps)"
expect "again" "0 of 0 knobs put back" "$(release)"

"$bin/kill_check" strand "$host"
rm "$host/run/baseline"
if ! python3 -c 'import os, sys; os.setxattr(sys.argv[1], "user.probe", b"1")' \
  "$host/mount" 2>/dev/null; then
  echo "by the table only: no user.* xattrs on this tmpfs"
  exit 0
fi
expect "by xattr, as JSON" 200 \
  "$(release --json | jq '[.knobs[] | select(.new)] | length')"
expect "caps left wrong" 0 "$(wrong_caps)"
echo "200 stranded caps put back by the table, and 200 by xattrs"
