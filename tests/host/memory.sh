#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The eyes for memory on this machine's own kernel: the host's figures against
# /proc, the programs, and plain words where a VM's memory cannot be seen.
set -euo pipefail
bin=${OUTRIDER_BUILD:-build/release}/bin
fail() { echo "FAILS: $*"; exit 1; }
lines=$(mktemp)
trap 'rm -f "$lines"' EXIT

stalls() { awk '/^allocstall_/ { sum += $2 } END { print sum }' /proc/vmstat; }
before=$(stalls)
"$bin/eyes_check" memory 20 20 >"$lines" || fail "eyes_check memory: exit $?"
after=$(stalls)
[[ $(wc -l <"$lines") -eq 21 ]] || fail "$(wc -l <"$lines") lines"
jq -c 'select(.missing) | {load_ms: (.load_ns / 1e6), missing}' "$lines"

# From here on the second line and the last one.
figure() { jq -s ".[$1].host.$2" "$lines"; }
page=$(getconf PAGESIZE)
low=$(awk -v page="$page" '
  $1 == "Node" { low = 0 } $1 == "low" { low = $2 }
  $1 == "managed" && $2 > 0 { sum += low } END { print sum * page }
' /proc/zoneinfo)
[[ $(figure 1 low_watermark) -eq $low ]] ||
  fail "low watermark $(figure 1 low_watermark), by /proc/zoneinfo $low"
jq -es --argjson before "$before" --argjson after "$after" \
  '.[1:] | all(.host.alloc_stalls >= $before and .host.alloc_stalls <= $after)' \
  "$lines" >/dev/null || fail "alloc_stalls are not $before..$after"
# Others use memory meanwhile: a tenth more or less is no surprise.
free=$(awk '$1 == "MemAvailable:" { print $2 * 1024 }' /proc/meminfo)
jq -es --argjson free "$free" \
  '.[-1].host.available | . > 0.9 * $free and . < 1.1 * $free' "$lines" \
  >/dev/null || fail "available $(figure -1 available), by /proc/meminfo $free"
jq -s '[.[1:][].read_ns] | sort |
  "a read of the host: \(.[length / 2 | floor] / 1000) us at the median"' \
  "$lines"

# A VM here: its memory is seen, or it is said why not.
if [[ ! -w /dev/kvm ]]; then
  echo "no /dev/kvm: no VM to attach"
  exit 0
fi
coproc MINIVM { exec "$bin/minivm" --mode tick:10 --forever; }
# shellcheck disable=SC2153  # coproc sets it
minivm=$MINIVM_PID
trap 'kill "$minivm" 2>/dev/null || true; rm -f "$lines"' EXIT
read -r -t 30 _ vm <&"${MINIVM[0]}" || fail "minivm has not started"
"$bin/eyes_check" memory 20 2 "$vm" >"$lines" || fail "with a VM: exit $?"
jq -es '(.[0].vms | length) == (.[1].vms | length) and
  ((.[0].vms | length) == 1 or (.[0].missing | any(test("memory: "))))' \
  "$lines" >/dev/null || fail "neither seen nor said: $(head -n 1 "$lines")"
jq -c 'select(.missing) | .missing' "$lines"
