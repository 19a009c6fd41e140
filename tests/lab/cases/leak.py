#!/usr/bin/python3 -B
# SPDX-License-Identifier: Apache-2.0
"""Acceptance 3.3: a spinner under a managed cap of 10 % gets no more than that,
and nobody writes meanwhile; who bursts costs at most 120 writes a minute."""
import os
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
from control_case import Agent, Writes, cpu_stat, guest, holds, read, wait_until

SECONDS = 60
LEARNING = 12  # the reserve's horizon, and the first seasons

hog = guest("hog", "--workload", "hog", "--cap", "10000/100000", "--no-marks")
burst = guest("burst", "--workload", "burst:2000,0.2,0.2", "--no-marks")
cgroups = {"hog": hog, "burst": burst}
writes = {name: Writes(cgroup) for name, cgroup in cgroups.items()}

agent = Agent("mode: enforce")
wait_until(lambda: all(each.seen for each in writes.values()), 20,
           "a VM's limits were never written")
time.sleep(LEARNING)

start = time.monotonic()
before = cpu_stat(hog)["usage_usec"]
time.sleep(SECONDS)
seconds = time.monotonic() - start
used = (cpu_stat(hog)["usage_usec"] - before) / 1e6 / seconds
count = {name: len(each.since(start)) for name, each in writes.items()}
print("hog: cpu.max %s; burst: %s; %s" %
      (read(hog + "/cpu.max"), read(burst + "/cpu.max"),
       [(vm["name"], vm["demand_mcpu"], vm["applied_mcpu"], vm["mode"])
        for vm in agent.allocations()]), flush=True)
holds(used <= 0.101,
      "under a cap of 10 %% it used %.3f %% in %.1f s" % (100 * used, seconds))
# A spinner that could not run would pass as well.
holds(used >= 0.095, "and it did run")
holds(count["hog"] == 0, "its cap was written %d times" % count["hog"])
per_minute = count["burst"] * 60 / seconds
holds(0 < per_minute <= 120,
      "the cap of who bursts: %.0f writes a minute" % per_minute)
holds(agent.end() == 0, "the agent ended well")
holds(read(hog + "/cpu.max") == "10000 100000" and
      read(burst + "/cpu.max") == "max 100000", "both baselines are back")
