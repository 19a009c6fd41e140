#!/usr/bin/python3 -B
# SPDX-License-Identifier: Apache-2.0
"""Memory is taken from a real guest whose jobs need it again and again: nobody is
killed, the floor holds, and memory is offered back within half a second of what
the host can see of the pressure. What it sees is taken from a monitor of its
own; what is offered, from the agent's log."""
import datetime
import os
import re
import statistics
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)),
                                "../../../bench/demo"))
import qmp
from control_case import Agent, guest, holds, lose, read, wait_until, write

MIB = 1 << 20
GUESTS = ["batch0", "batch1"]
CYCLES = 100 if os.environ.get("OUTRIDER_FULL") == "1" else 1  # of each guest
PERIOD_S = 15
SIZE, FLOOR = 512, 128
# By agent/core/memory_seat.cpp: short is who has less than half of what is to
# be spare, a tenth of its size.
SHORT = SIZE * 0.1 * 0.5 * MIB
CONFIG = """mode: enforce
cpu: {mode: observe}
memory: {mode: enforce, period_ms: 100, learn_s: 1, host_share_percent: 90,
         give_after_s: 3600}
vms: [{match: "batch*", class: batch, memory_floor_mib: %d}]
""" % FLOOR

# See memory.py.
write("/sys/kernel/mm/transparent_hugepage/enabled", "never")


class Guest(threading.Thread):
    """A guest, and what anybody on the host can see of it: when, what its
    balloon leaves it, and what it says it has available."""

    def __init__(self, name):
        super().__init__(daemon=True)
        guest(name, "--memory", str(SIZE), "--drivers", "--no-reporting",
              "--workload", "freed:300,16,160,%d,8" % PERIOD_S)
        self.guest = name
        self.monitor = qmp.Monitor("/run/labguest/%s/qmp" % name)
        self.seen = []
        self.lost = None
        self.jobs_before = 0

    def run(self):
        try:
            while True:
                left = qmp.balloon_bytes(self.monitor)
                stats = qmp.guest_stats(self.monitor)
                self.seen.append((time.time(), left,
                                  stats["stat-available-memory"]))
                time.sleep(0.05)
        except qmp.Lost as error:
            self.lost = str(error)

    def marks(self, word):
        return [line for line in
                read("/run/labguest/%s/marks" % self.guest).splitlines()
                if word in line]

    def least(self):
        return min(left for _, left, _ in self.seen) // MIB

    def jobs(self):
        return len(self.marks(" JOB ")) - self.jobs_before

    def offers(self, log):
        """When the agent set its balloon to more."""
        found = []
        for line in log:
            match = re.match(r"(\S+) .*memory vm=%s balloon_mib=(\d+) was=(\d+)" %
                             self.guest, line)
            if match and int(match[2]) > int(match[3]):
                found.append(
                    datetime.datetime.fromisoformat(match[1]).timestamp())
        return found

    def shortages(self, start):
        """When it could be seen that it is short and its balloon holds some."""
        found, was_short = [], False
        for at, left, available in self.seen:
            is_short = available < SHORT and left < (SIZE - 1) * MIB
            if is_short and not was_short and at >= start:
                found.append(at)
            was_short = is_short
        return found


guests = [Guest(name) for name in GUESTS]
agent = Agent(CONFIG)
for each in guests:
    each.start()
for each in guests:
    wait_until(lambda: each.lost or each.seen and
               each.seen[-1][1] < (SIZE - 60) * MIB, 120,
               "it gives nothing: %s" % agent.ask("memory"))
    each.jobs_before = len(each.marks(" JOB "))
start = time.time()
deadline = time.monotonic() + 2 * PERIOD_S * CYCLES + 120
while any(each.jobs() < CYCLES for each in guests):
    for each in guests:
        if each.lost or time.monotonic() > deadline:
            lose(each.guest, each.lost or "its jobs do not end")
    time.sleep(0.5)

log = read(agent.log).splitlines()
states = agent.ask("memory")["vms"]
holds(not any(each.marks("KILLED") for each in guests),
      "%d jobs, and nobody was killed" % sum(each.jobs() for each in guests))
least = min(each.least() for each in guests)
holds(least >= FLOOR, "never under the floor of %d MiB: %d at the least" %
      (FLOOR, least))

# --- How long after it could be seen was memory offered --------------------------
delays, offered = [], 0
for each in guests:
    offers = each.offers(log)
    offered += len(offers)
    for at in each.shortages(start):
        # An offer ahead came before the figures that showed why.
        ahead = [offer for offer in offers if at - 2 <= offer <= at]
        after = [offer for offer in offers if offer > at]
        delays.append(0 if ahead else after[0] - at if after else 1e9)
print("taken %d times, in vain %d; given back %d times; short %d times, as could "
      "be seen" % (sum(state["asked"] for state in states),
                   sum(state["refused"] for state in states), offered,
                   len(delays)), flush=True)
holds(offered >= CYCLES * len(guests),
      "each job's memory came back: %d offers" % offered)
if delays:
    holds(max(delays) <= 0.5, "offered within 500 ms of what could be seen: "
          "median %d ms, at most %d ms" % (1000 * statistics.median(delays),
                                           1000 * max(delays)))
agent.end()
for each in guests:
    each.monitor.close()
subprocess.run(["labguest", "stop", "--all"], check=True)
