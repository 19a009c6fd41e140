#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The part of scripts/demo that runs inside the lab; leaves polling.json and
# no-polling.json in $LAB_OUT.
set -euo pipefail
poll=/sys/module/kvm/parameters/halt_poll_ns

say() { echo "demo: $*"; }

# begin NAME OPTION...: a guest that is still there a moment later. An emulated
# processor now and then loses a guest as it boots; what QEMU said is kept.
begin() {
  local name=$1 try state
  for try in 1 2 3; do
    labguest start "$@"
    sleep 1
    state=$(labguest list | awk -v name="$name" '$1 == name {print $NF}')
    [[ $state != running ]] || return 0
    say "guest $name is $state a second after its start (try $try): again"
    cp "/run/labguest/$name/qemu.log" "$LAB_OUT/$name-qemu-$try.log" || true
    labguest stop "$name" || true
  done
  return 1
}

# measure FILE: every VM's demand and usage over ten seconds.
measure() {
  outrider top --batch --json --interval 10 --count 1 >"$LAB_OUT/$1"
}

# Latency-tuned hosts poll for longer than their guests sleep.
echo 4000000 >"$poll"
say "starting three guests"
begin web --vcpus 2 --workload burst:100,0.2,0.3 --no-marks
cal=$(labguest marks web | awk '/CAL/ {print $NF; exit}')
begin ticker --workload ticker:500,0.2 --cal "$cal" --no-marks
begin hog --workload hog --cap 20000/100000 --cal "$cal" \
  --layout plain --no-marks

say "starting outriderd"
echo 'log_level: debug' >/run/outrider.yaml
outriderd --config /run/outrider.yaml 2>"$LAB_OUT/outriderd.log" &
agent=$!
until outrider status >/dev/null 2>&1; do sleep 0.2; done

outrider status
say "outrider top, for 20 s"
outrider top --batch --interval 5 --count 4
say "outrider vm list"
outrider vm list

say "measuring with halt-polling"
measure polling.json
# Takes effect with the next halt where the kernel reads it then; a guest
# started anew has it in any case.
echo 0 >"$poll"
labguest stop ticker
begin ticker --workload ticker:500,0.2 --cal "$cal" --no-marks
sleep 2
say "measuring without halt-polling"
measure no-polling.json
kill "$agent"
wait "$agent"
labguest stop --all
