#!/usr/bin/python3 -B
# SPDX-License-Identifier: Apache-2.0
"""Acceptance 3.7: somebody else writes a managed VM's cap each second, as a
script around `virsh schedinfo` does: noticed within a second, answered once at
most, then left alone until an operator says that the other is gone."""
import os
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
from control_case import (Agent, Writes, holds, read, small_vm, wait_until,
                          write)

SECONDS = 60 if os.environ.get("OUTRIDER_FULL") == "1" else 20
FOREIGN = "33000 100000"

vm, cgroup = small_vm(100, "burst:2000,200000")
writes = Writes(cgroup)
# It learns for half a second. The period is longer than what it looks ahead, or
# it would keep the cap up.
agent = Agent("""mode: enforce
cpu: {lower_after_ms: 50, writes_per_minute: 6000}
shadow: {reserve_horizon_ms: 500}""")
wait_until(lambda: len(writes.since(0)) >= 5, 30, "the cap does not move")

start = time.monotonic()
noticed = None
for second in range(SECONDS):
    write(cgroup + "/cpu.max", FOREIGN)
    while time.monotonic() < start + second + 1:
        if noticed is None and agent.says("foreign vm="):
            noticed = time.monotonic() - start
        time.sleep(0.02)
state = agent.allocations()[0]
for line in agent.says("foreign vm="):
    print(line, flush=True)
ours = len(writes.since(start)) - SECONDS
holds(noticed is not None and noticed <= 1,
      "noticed after %s s" % (noticed and round(noticed, 3)))
holds(0 <= ours <= 1, "answered %d times in %d s" % (ours, SECONDS))
holds(state["contended"], "contended, and left alone")
holds(read(cgroup + "/cpu.max") == FOREIGN, "theirs is what the file says")

calm = time.monotonic()
time.sleep(2)
holds(not writes.since(calm), "no write after the other has stopped either")
subprocess.run(["outrider", "vm", "release-contention", state["name"]],
               check=True)
took = wait_until(lambda: read(cgroup + "/cpu.max") != FOREIGN, 10,
                  "released, but its cap is still theirs")
holds(not agent.allocations()[0]["contended"],
      "released: its cap moves again, %.2f s later" % took)
agent.end()
holds(read(cgroup + "/cpu.max") == FOREIGN,
      "and goes back to what the other had left")
vm.kill()
