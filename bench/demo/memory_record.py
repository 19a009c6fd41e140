#!/usr/bin/python3 -B
# SPDX-License-Identifier: Apache-2.0
"""usage: memory_record.py OUT GUEST...

Writes a row each 250 ms until it is told to end: the host's memory, and of each
guest what is resident and swapped, how long it waited, what its balloon is. It
has the guests' second QMP sockets; the first are for whoever acts.
"""
import csv
import signal
import sys
import time

import memory_host
import qmp

PERIOD_S = 0.25


class Guest:
    """Where one guest's figures are read."""

    def __init__(self, name):
        self.name = name
        folder = "/run/labguest/" + name
        self.cgroup = memory_host.read(folder + "/cgroup").strip()
        self.pid = int(memory_host.read(folder + "/pid"))
        self.monitor = qmp.Monitor(folder + "/qmp2")

    def figures(self):
        def of(file):
            return memory_host.read("%s/memory.%s" % (self.cgroup, file))
        pressure = memory_host.parse_pressure(of("pressure"))
        return {
            "resident_kib": int(of("current")) >> 10,
            "swap_kib": int(of("swap.current")) >> 10,
            "psi_some_us": pressure["some"],
            "psi_full_us": pressure["full"],
            "majflt": memory_host.major_faults(self.pid),
            "balloon_kib": qmp.balloon_bytes(self.monitor) >> 10,
        }


def row_of(guests):
    row = {"t_us": time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}
    memory = memory_host.meminfo_kib()
    row["free_kib"] = memory["MemFree"]
    row["available_kib"] = memory["MemAvailable"]
    row["swap_kib"] = memory["SwapTotal"] - memory["SwapFree"]
    row.update(memory_host.vmstat())
    pressure = memory_host.parse_pressure(
        memory_host.read("/proc/pressure/memory"))
    row["psi_some_us"] = pressure["some"]
    row["psi_full_us"] = pressure["full"]
    for guest in guests:
        for name, value in guest.figures().items():
            row["%s.%s" % (guest.name, name)] = value
    return row


def main():
    ended = []
    signal.signal(signal.SIGTERM, lambda *_: ended.append(True))
    memory_host.stay_resident()
    guests = [Guest(name) for name in sys.argv[2:]]
    with open(sys.argv[1], "w") as file:
        out = csv.DictWriter(file, row_of(guests).keys())
        out.writeheader()
        next_s = time.monotonic()
        while not ended:
            out.writerow(row_of(guests))
            file.flush()
            next_s = max(next_s + PERIOD_S, time.monotonic())
            time.sleep(max(next_s - time.monotonic(), 0))


if __name__ == "__main__":
    main()
