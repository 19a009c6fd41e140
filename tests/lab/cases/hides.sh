#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What usage hides and demand does not, on three real guests: one that bursts
# on two vCPUs, one that wants all of a CPU under a cap of 20 %, and one that
# wakes every 2 ms, with halt-polling and without. Leaves the figures and
# whether they are right in $LAB_OUT/result.json.
set -euo pipefail
poll=/sys/module/kvm/parameters/halt_poll_ns

say() { echo "hides: $*"; }

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

jq -s '
  def vm(name): .vms[] | select(.name == name);
  def cpus: . / 1000;
  .[0] as $p | .[1] as $n |
  {
    schema: 1,
    hog: ($n | vm("hog") | {
      demand_cpus: (.demand_mcpu | cpus), usage_cpus: (.usage_mcpu | cpus),
      upper_bound, throttled_cpus: (.throttled_mcpu | cpus) }),
    ticker: {
      halt_polling: ($p | vm("ticker") | {
        demand_cpus: (.demand_mcpu | cpus), usage_cpus: (.usage_mcpu | cpus)}),
      no_halt_polling: ($n | vm("ticker") | {
        demand_cpus: (.demand_mcpu | cpus), usage_cpus: (.usage_mcpu | cpus)})
    }
  }
  | .ticker.usage_ratio =
      (.ticker.halt_polling.usage_cpus / .ticker.no_halt_polling.usage_cpus)
  | .ticker.demand_ratio =
      (.ticker.halt_polling.demand_cpus / .ticker.no_halt_polling.demand_cpus)
  | .holds = {
      hog_is_held: (.hog.upper_bound and .hog.demand_cpus > 0.8
                    and .hog.usage_cpus > 0.15 and .hog.usage_cpus < 0.25),
      ticker_usage_differs_twofold: (.ticker.usage_ratio >= 2),
      ticker_demand_differs_20_percent_at_most:
        (.ticker.demand_ratio >= 0.8 and .ticker.demand_ratio <= 1.2)
    }
' "$LAB_OUT/polling.json" "$LAB_OUT/no-polling.json" >"$LAB_OUT/result.json"
jq . "$LAB_OUT/result.json"
jq -e '.holds | all' "$LAB_OUT/result.json" >/dev/null
