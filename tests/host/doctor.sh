#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Acceptance 5: the doctor is right about this machine, by facts that are found
# here in another way, and exits 3 just when a line is not ok.
set -euo pipefail
outrider=${OUTRIDER_BUILD:-build/release}/bin/outrider
report=$(mktemp)
trap 'rm -f "$report"' EXIT
code=0
"$outrider" doctor --json >"$report" || code=$?
"$outrider" doctor || true

wrong=0
# is AREA WHAT CONDITION: the line is ok if, and only if, the condition holds.
is() {
  local state expected=bad
  state=$(jq -r --arg area "$1" --arg what "$2" \
    '.lines[] | select(.area == $area and .what == $what) | .state' "$report")
  eval "$3" && expected=ok
  if [[ -z $state ]]; then
    echo "WRONG: no line $1/$2"; wrong=1
  elif [[ $expected == ok && $state != ok || $expected == bad && $state == ok ]]
  then
    echo "WRONG: $1/$2 is $state, but: $3 is $expected"; wrong=1
  fi
}
v2=$(awk '$3 == "cgroup2" {print $2; exit}' /proc/mounts)
unified() { [[ $(stat -fc %T /sys/fs/cgroup) == cgroup2fs ]]; }
has_controller() { grep -qw "$1" "$v2/cgroup.controllers" 2>/dev/null; }
capable() { capsh --has-p="$1" 2>/dev/null || python3 - "$1" <<'PYTHON'
import sys
bits = {"cap_bpf": 39, "cap_perfmon": 38, "cap_sys_resource": 24,
        "cap_sys_nice": 23, "cap_sys_ptrace": 19}
mask = int(next(l for l in open("/proc/self/status")
                if l.startswith("CapEff")).split()[1], 16)
sys.exit(0 if mask >> bits[sys.argv[1]] & 1 else 1)
PYTHON
}

is kernel BTF '[[ -r /sys/kernel/btf/vmlinux ]]'
is account CAP_BPF 'capable cap_bpf'
is account CAP_PERFMON 'capable cap_perfmon'
is account CAP_SYS_RESOURCE 'capable cap_sys_resource'
is account CAP_SYS_PTRACE 'capable cap_sys_ptrace'
is account CAP_SYS_NICE 'capable cap_sys_nice'
is kvm device '[[ -r /dev/kvm && -w /dev/kvm ]]'
is kvm module '[[ -d /sys/module/kvm_amd || -d /sys/module/kvm_intel ]]'
is cgroup version unified
for controller in cpu memory io cpuset; do
  is cgroup "$controller" "has_controller $controller"
done
is pressure host '[[ -r /proc/pressure/cpu ]] && cat /proc/pressure/cpu >/dev/null 2>&1'
is memory pressure '[[ -r /proc/pressure/memory ]] && cat /proc/pressure/memory >/dev/null 2>&1'
# What is a choice is told as it is.
for what in free swap zswap 'huge pages, transparent' 'huge pages, set aside' \
  'same-page merging' 'NUMA balancing'; do
  is memory "$what" true
done
has_swap() { awk '$1 == "SwapTotal:" { exit $2 == 0 }' /proc/meminfo; }
says_swap() {
  jq -e '.lines[] | select(.area == "memory" and .what == "swap")
    | .found | startswith("none") | not' "$report" >/dev/null
}
if has_swap; then says_swap; else ! says_swap; fi ||
  { echo 'WRONG: memory/swap'; wrong=1; }
is loop SCHED_FIFO 'chrt -f 1 true 2>/dev/null'

not_ok=$(jq '[.lines[] | select(.state != "ok")] | length' "$report")
expected=0
[[ $not_ok -eq 0 ]] || expected=3
[[ $code -eq $expected ]] || {
  echo "WRONG: exit $code with $not_ok lines not ok"; wrong=1
}
exit "$wrong"
