#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Acceptance 5: with the kvm module unloaded, BTF hidden or CAP_BPF dropped the
# agent starts, sees what it then can, and says what it cannot.
set -euo pipefail
agent='' vm=''
fail() { echo "FAILS: $*"; cat /run/outriderd.log; exit 1; }
ok() { echo "ok: $*"; }
stop_all() {
  [[ -z $vm ]] || kill "$vm" 2>/dev/null || true
  [[ -z $agent ]] || kill "$agent" 2>/dev/null || true
  wait
  agent='' vm=''
}
trap stop_all EXIT

# start PREFIX...: outriderd behind a command, until it answers.
start() {
  "$@" outriderd 2>/run/outriderd.log &
  agent=$!
  for _ in {1..100}; do
    local code=0
    outrider status >/dev/null 2>&1 || code=$?
    # 3: it answers, and is degraded.
    [[ $code -ne 0 && $code -ne 3 ]] || return 0
    sleep 0.2
  done
  fail "outriderd does not answer"
}
status() { outrider status --json | jq -r "$1"; }
# spins: a VM that runs all the time is seen to do so.
sees_a_spinner() {
  minivm --mode spin --thread-names --forever >/run/ready &
  vm=$!
  for _ in {1..50}; do
    [[ $(outrider vm list --json | jq '.vms | length') -eq 0 ]] || break
    sleep 0.2
  done
  local usage
  usage=$(outrider top --batch --json --interval 3 --count 1 |
    jq '.vms[0].usage_mcpu // 0')
  [[ $usage -ge 500 && $usage -le 1100 ]] ||
    fail "$1: a spinning VM reads as $usage mCPU"
  ok "$1: a spinning VM reads as $usage mCPU"
}
expect() { # WHAT JQ-EXPRESSION
  [[ $(status "$2") == true ]] || fail "$1: $(status .)"
  ok "$1: $(status '[.degraded[].what] | join("; ")')"
  grep -q degraded /run/outriderd.log || fail "$1: the log does not say so"
}

rmmod kvm_amd kvm
start env
expect "kvm unloaded" '.sensor == "bpf" and (.degraded | length) == 1'
doctor=0
outrider doctor >/dev/null || doctor=$?
[[ $doctor -eq 3 ]] || fail "kvm unloaded: doctor exits $doctor, not 3"
modprobe kvm_amd
for _ in {1..50}; do
  [[ $(status '.degraded | length') -ne 0 ]] || break
  sleep 0.2
done
[[ $(status '.degraded | length') -eq 0 ]] || fail "kvm loaded: still degraded"
sees_a_spinner "kvm loaded later"
stop_all

mount -t tmpfs tmpfs /sys/kernel/btf
start env
expect "BTF hidden" '.sensor == "files" and (.degraded | length) >= 1'
sees_a_spinner "BTF hidden"
stop_all
doctor=0
outrider doctor >/dev/null || doctor=$?
[[ $doctor -eq 3 ]] || fail "BTF hidden: doctor exits $doctor, not 3"
umount /sys/kernel/btf

start setpriv --bounding-set=-bpf,-sys_admin,-perfmon
expect "CAP_BPF dropped" '.sensor == "files" and (.degraded | length) >= 1'
sees_a_spinner "CAP_BPF dropped"
