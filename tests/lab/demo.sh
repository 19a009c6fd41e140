#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The part of scripts/demo that runs inside the lab; leaves polling.json and
# no-polling.json in $LAB_OUT.
set -euo pipefail
poll=/sys/module/kvm/parameters/halt_poll_ns

say() { echo "demo: $*"; }

# measure FILE: every VM's demand and usage over ten seconds.
measure() {
  outrider top --batch --json --interval 10 --count 1 >"$LAB_OUT/$1"
}

# Latency-tuned hosts poll for longer than their guests sleep.
echo 4000000 >"$poll"
say "starting three guests"
labguest start web --vcpus 2 --workload burst:100,0.1,0.3 --no-marks
cal=$(labguest marks web | awk '/CAL/ {print $NF; exit}')
labguest start ticker --workload ticker:500,0.2,300 --cal "$cal" --no-marks
labguest start hog --workload hog --cap 20000/100000 --cal "$cal" \
  --layout plain --no-marks

say "starting outriderd"
echo 'log_level: debug' >/run/outrider.yaml
outriderd --config /run/outrider.yaml 2>"$LAB_OUT/outriderd.log" &
agent=$!
trap 'kill "$agent"; wait "$agent" || true' EXIT
until outrider status >/dev/null 2>&1; do sleep 0.2; done
[[ $(outrider vm list --json | jq '.vms | length') -eq 3 ]] ||
  { say "a guest is gone"; exit 1; }

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
labguest start ticker --workload ticker:500,0.2,300 --cal "$cal" --no-marks
sleep 2
say "measuring without halt-polling"
measure no-polling.json
[[ $(labguest list | grep -c running) -eq 3 ]] || { say "a guest is gone"; exit 1; }
kill "$agent"
wait "$agent"
trap - EXIT
labguest stop --all
