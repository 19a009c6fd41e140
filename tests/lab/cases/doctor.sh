#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Acceptance 5: in the lab nothing is missing, and the doctor says so.
set -euo pipefail
outrider doctor
report=$(outrider doctor --json)
for what in 'of VMs' pressure free swap on_first_touch on_direct_reclaim \
  on_memcg_reclaim on_memcg_reclaim_end; do
  jq -e --arg what "$what" \
    '.lines[] | select(.area == "memory" and .what == $what) | .state == "ok"' \
    <<<"$report" >/dev/null || { echo "FAILS: memory/$what"; exit 1; }
done
outrider doctor --json | jq -e '[.lines[] | select(.state != "ok")] == []' \
  >/dev/null
