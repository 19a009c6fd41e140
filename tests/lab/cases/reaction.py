#!/usr/bin/python3 -B
# SPDX-License-Identifier: Apache-2.0
"""Acceptance 3.2: a capped guest that bursts for 150 ms each 500 ms is not
throttled once the agent knows it; and where nothing is forecast, the fast path
raises its cap in time. For --icount: only there do microseconds repeat."""
import json
import os
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
from control_case import Agent, cpu_stat, guest, holds, lose

BURSTS = 16
# Of no multiple of the kernel's tick or the agent's: bursts meet them in all
# phases alike, which how soon an edge comes depends on.
PERIOD = 0.511
LEARNING = 15
SAMPLES = 50
EDGES = 200  # a p99 of a hundred would be the worst of them
# All of the single CPU may be the guest's, and more than its vCPU can use, so
# that the emulator's share does not throttle it.
CONFIG = """
mode: enforce
vms: [{match: "*", ceiling_mcpu: 1500}]
cpu: {host_share_mcpu: 0%s}
%s
"""


def throttled(seconds):
    before = cpu_stat(web)
    time.sleep(seconds)
    after = cpu_stat(web)
    return [after[key] - before[key] for key in ("nr_throttled",
                                                 "throttled_usec")]


def latency(agent):
    """The stages of the fast path by name."""
    return {stage["stage"]: stage
            for stage in agent.ask("explain", vm="web")["latency"]}


def quantile(values, permille):
    return sorted(values)[(len(values) * permille + 999) // 1000 - 1]


web = guest("web", "--workload", "burst:%d,0.3" % (1e3 * PERIOD), "--cap", "20000/100000",
            "--no-marks")
periods, us = throttled(BURSTS * PERIOD)
holds(periods > 0, "without an agent %d bursts are throttled %d times, "
      "%.0f ms" % (BURSTS, periods, us / 1e3))

agent = Agent(CONFIG % ("", ""))
time.sleep(LEARNING)
periods, us = throttled(BURSTS * PERIOD)
print(agent.allocations()[0], flush=True)
holds(periods == 0, "%d bursts: nr_throttled %d, %.1f ms" %
      (BURSTS, periods, us / 1e3))
agent.end()

# Lowered in each trough, so that each burst needs an edge.
agent = Agent(CONFIG % (", lower_after_ms: 20, writes_per_minute: 6000",
                        "shadow: {forecast: false, reserve_horizon_ms: 200}"))
time.sleep(3)
took, seen = [], 0
deadline = time.monotonic() + 3 * SAMPLES
while len(took) < SAMPLES and time.monotonic() < deadline:
    # Seldom, as an edge that comes while the loop answers has to wait for it,
    # and at no period that bursts have.
    time.sleep(0.97)
    now = latency(agent).get("edge in all", {"count": 0})
    if now["count"] > seen:
        took.append(now["ns"] / 1e3)
    seen = now["count"]
deadline = time.monotonic() + EDGES
before = cpu_stat(web)
while seen < EDGES and time.monotonic() < deadline:
    time.sleep(5)
    seen = latency(agent).get("edge in all", {"count": 0})["count"]
    after = cpu_stat(web)
    if (after["usage_usec"] - before["usage_usec"] < 100000 and
            after["nr_throttled"] == before["nr_throttled"]):
        lose("web", "it could run, and bursts no more")
    before = after
told = subprocess.run(["outrider", "explain", "web", "--json"], check=True,
                      stdout=subprocess.PIPE).stdout
agent.end()
for stage in json.loads(told)["latency"]:
    print(stage, flush=True)
holds(len(took) == SAMPLES and seen >= EDGES,
      "%d edges raised the cap" % seen)
p50, *halves = [quantile(some, 500) for some in (took, took[::2], took[1::2])]
holds(p50 <= 30, "event to write done: p50 %.1f us" % p50)
holds(abs(halves[0] - halves[1]) <= 2, "p50 of each half: %.1f and %.1f us" %
      tuple(halves))
everything = [stage for stage in json.loads(told)["latency"]
              if stage["stage"] == "edge in all"][0]
# Its buckets are an eighth of a power of two, and the upper edge is told.
holds(everything["p99_ns"] <= 50000 * 1.125,
      "event to write done: p99 %.1f us of %d, 12.5 %% too much at most" %
      (everything["p99_ns"] / 1e3, everything["count"]))
