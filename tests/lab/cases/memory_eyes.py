#!/usr/bin/python3 -B
# SPDX-License-Identifier: Apache-2.0
"""The eyes for memory: a guest's growth is what the guest says that it touched;
who is squeezed shows it, and its neighbour does not."""
import atexit
import json
import os
import shutil
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
from control_case import CGROUPS, guest, holds, lose, read, wait_until, write

MIB = 1 << 20
TOTAL = 160  # MiB that the guest touches, then again and again
RATE = 20
SLICE = CGROUPS + "/machine.slice"


class Eyes:
    """eyes_check's lines, as they come."""

    def __init__(self, names):
        pids = [read("/run/labguest/%s/pid" % name) for name in names]
        self.names = names
        self.process = subprocess.Popen(
            ["eyes_check", "memory", "100", "100000", *pids],
            stdout=subprocess.PIPE, text=True)
        self.start = json.loads(self.process.stdout.readline())
        self.lines = []
        threading.Thread(target=self._collect, daemon=True).start()
        wait_until(lambda: self.lines, 30, "eyes_check says nothing")

    def _collect(self):
        # Not at once to $LAB_OUT: each wait for it would move the readings.
        atexit.register(shutil.copy, "/run/eyes.jsonl", os.environ["LAB_OUT"])
        with open("/run/eyes.jsonl", "w", buffering=1) as out:
            for line in self.process.stdout:
                out.write(line)
                self.lines.append(json.loads(line))

    def fresh(self):
        """A reading of after this call, with a memory.stat likewise."""
        now = time.monotonic_ns()
        wait_until(lambda: all(
            vm["is_gone"] or vm["stat"]["taken_ns"] > now
            for vm in self.lines[-1]["vms"]), 20, "no new reading")
        return self.lines[-1]

    def vm(self, name, line=None):
        return (line or self.lines[-1])["vms"][self.names.index(name)]

    def at(self, name, when_ns):
        """memory.current then, between the readings around it."""
        before = after = None
        for line in self.lines:
            if line["taken_ns"] <= when_ns:
                before = line
            elif after is None:
                after = line
        a, b = self.vm(name, before)["current"], self.vm(name, after)["current"]
        part = ((when_ns - before["taken_ns"]) /
                (after["taken_ns"] - before["taken_ns"]))
        return a + part * (b - a)


def touched(name):
    """(when, MiB) as the guest said it."""
    words = [line.split() for line in
             read("/run/labguest/%s/marks" % name).splitlines()]
    return [(int(word[0]), float(word[2])) for word in words
            if word[1] == "TOUCHED"]


def await_touched(name, mib):
    before = touched(name)
    deadline = time.monotonic() + 90
    while not touched(name) or touched(name)[-1][1] < mib:
        if time.monotonic() > deadline:
            lose(name, "touches no more after %s" % (before or ["nothing"])[-1])
        time.sleep(0.2)


def reclaim(cgroup, mib):
    try:
        write(cgroup + "/memory.reclaim", "%dM" % mib)
    except OSError as error:  # EAGAIN: it could not get all of it
        print("memory.reclaim: %s" % error, flush=True)


grower = guest("grower", "--memory", "512", "--hold",
               "--workload", "touch:%d,%d,loop" % (RATE, TOTAL))
calm = guest("calm", "--memory", "256")
# A floor that its slice does not pass on, and a limit that does not bind.
write(grower + "/memory.low", str(32 * MIB))
write(grower + "/memory.high", str(3000 * MIB))

eyes = Eyes(["grower", "calm"])
limits = eyes.start["vms"][0]
print("missing: %s; programs loaded in %.1f ms" %
      (eyes.start["missing"], eyes.start["load_ns"] / 1e6), flush=True)
holds(eyes.start["missing"] == [], "all of it is seen on this kernel")
holds(CGROUPS + limits["cgroup"] == grower, "its memory is in " +
      limits["cgroup"])
holds(limits["low"]["own"] == 32 * MIB and limits["low"]["effective"] == 0 and
      limits["high"]["effective"] == 3000 * MIB,
      "a floor that no ancestor gives is none: %s" % limits["low"])

# --- Growth -------------------------------------------------------------------
first = eyes.fresh()
subprocess.run(["labguest", "go", "0", "grower"], check=True)
await_touched("grower", TOTAL + RATE)
last = eyes.fresh()
marks = [mark for mark in touched("grower") if mark[1] <= TOTAL]
if marks[-1][1] - marks[0][1] < 40:
    lose("grower", "got too little of a processor: %s" % marks)
for (t0, m0), (t1, m1) in ((marks[0], marks[len(marks) // 2]),
                           (marks[len(marks) // 2], marks[-1]),
                           (marks[0], marks[-1])):
    grown = (eyes.at("grower", t1) - eyes.at("grower", t0)) / MIB
    if m1 - m0 < 40:
        continue  # the guest got too little of a processor to say much
    # Huge pages and 0.1 s between readings: 2 MiB more or less at either end.
    holds(abs(grown - (m1 - m0)) <= 0.03 * (m1 - m0) + 4,
          "it touched %.1f MiB in %.1f s and is seen to grow by %.1f" %
          (m1 - m0, (t1 - t0) / 1e9, grown))
grown = {key: (each("grower", last) - each("grower", first)) / MIB
         for key, each in (
             ("current", lambda name, line: eyes.vm(name, line)["current"]),
             ("anon", lambda name, line: eyes.vm(name, line)["stat"]["anon"]))}
# Less than it touched: what lies in huge pages that its kernel used is there.
holds(0.85 * TOTAL <= grown["anon"] <= 1.05 * TOTAL and
      abs(grown["anon"] - grown["current"]) <= 0.05 * TOTAL,
      "all in all it grew by %.1f MiB, %.1f of them anon" %
      (grown["current"], grown["anon"]))
calm_grown = (eyes.vm("calm", last)["current"] -
              eyes.vm("calm", first)["current"]) / MIB
holds(calm_grown < 4, "its neighbour grew by %.1f MiB" % calm_grown)
touches = {name: eyes.vm(name, last)["first_touches"] -
           eyes.vm(name, first)["first_touches"] for name in eyes.names}
# A page of 4 KiB or of 2 MiB each.
holds(TOTAL / 2 * 0.9 <= touches["grower"] <= TOTAL * 256 * 1.1 and
      touches["calm"] < touches["grower"] / 10,
      "first touches: %s" % touches)
costs = sorted(line["read_ns"] / 1e3 for line in eyes.lines)
print("a read of host and two VMs: p50 %.0f us, p99 %.0f us (emulated)" %
      (costs[len(costs) // 2], costs[len(costs) * 99 // 100]), flush=True)

# --- Squeezed by memory.reclaim -----------------------------------------------
before = eyes.fresh()
seen = eyes.vm("grower", before)
reclaim(grower, 60)
after = eyes.fresh()
squeezed = eyes.vm("grower", after)
holds(squeezed["memcg_reclaims"] > seen["memcg_reclaims"] and
      squeezed["memcg_reclaim_ns"] > seen["memcg_reclaim_ns"] and
      squeezed["memcg_reclaimed_pages"] - seen["memcg_reclaimed_pages"] >=
      0.5 * 60 * 256,
      "reclaimed from it: %d times, %.1f ms, %.1f MiB" % (
          squeezed["memcg_reclaims"] - seen["memcg_reclaims"],
          (squeezed["memcg_reclaim_ns"] - seen["memcg_reclaim_ns"]) / 1e6,
          (squeezed["memcg_reclaimed_pages"] -
           seen["memcg_reclaimed_pages"]) / 256))
holds(squeezed["stat"]["reclaim_stolen"] > seen["stat"]["reclaim_stolen"],
      "memory.stat agrees")

# --- Squeezed by memory.high: it goes over its memory, which is in swap -------
# Under what it goes over, so that no page stays for long.
write(grower + "/memory.high", str((TOTAL - 20) * MIB))
time.sleep(6)
high = eyes.vm("grower", eyes.fresh())
write(grower + "/memory.high", "max")
holds(high["swap"] > 10 * MIB, "%.1f MiB of it are in swap" %
      (high["swap"] / MIB))
holds(high["stat"]["refaults_anon"] > seen["stat"]["refaults_anon"] and
      high["stat"]["major_faults"] > seen["stat"]["major_faults"],
      "it comes back: %d refaults, %d major faults" % (
          high["stat"]["refaults_anon"] - seen["stat"]["refaults_anon"],
          high["stat"]["major_faults"] - seen["stat"]["major_faults"]))
holds(high["pressure"]["some_us"] - seen["pressure"]["some_us"] > 10000,
      "it waited %.0f ms for memory" % (
          (high["pressure"]["some_us"] - seen["pressure"]["some_us"]) / 1e3))
holds(high["high_events"] > seen["high_events"] and
      high["memcg_reclaims"] > squeezed["memcg_reclaims"],
      "at memory.high %d times" % (high["high_events"] - seen["high_events"]))

last = eyes.fresh()
was, calm_now = eyes.vm("calm", before), eyes.vm("calm", last)
# Programs that it runs may be read anew all the while: that is no anon page.
holds(calm_now["memcg_reclaims"] == was["memcg_reclaims"] == 0 and
      calm_now["high_events"] == 0 and calm_now["swap"] == 0 and
      calm_now["stat"]["refaults_anon"] == 0 and
      calm_now["direct_reclaims"] == 0 and
      10 * (calm_now["pressure"]["some_us"] - was["pressure"]["some_us"]) <
      high["pressure"]["some_us"] - seen["pressure"]["some_us"],
      "its neighbour shows none of that")

# --- Gone ---------------------------------------------------------------------
subprocess.run(["labguest", "stop", "calm"], check=True)
wait_until(lambda: eyes.vm("calm")["is_gone"], 10, "it is not seen to go")
holds(eyes.vm("calm")["current"] == -1 and not eyes.vm("grower")["is_gone"],
      "who is gone is gone, and has no memory.current of 0")
holds(all(vm["resets"] == 0 for line in eyes.lines for vm in line["vms"]),
      "no counter went back")
eyes.process.terminate()
subprocess.run(["labguest", "stop", "--all"], check=True)
