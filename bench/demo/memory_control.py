#!/usr/bin/python3 -B
# SPDX-License-Identifier: Apache-2.0
"""usage: memory_control.py reactive | oracle PLAN

Moves the batch guest's balloon until it is told to end, as others do it:

reactive  Proxmox VE's rule (pvestatd, AutoBalloon.pm): each 10 s it compares
          what the host uses with 80 % of what it has, and moves each guest that
          may be ballooned towards that by at most 100 MiB; 10 MiB or less are
          left alone. oVirt's MOM has the same period and threshold, and steps
          of 5 % of the guest, which would be half of that here.
oracle    does what the plan says, at times after the guests' time 0
"""
import json
import signal
import sys
import time

import memory_host
import memory_scenario
import memory_turns
import qmp

MIB = memory_scenario.MIB
PERIOD_S = 10
USED_PART = 0.8
STEP_BYTES_MAX = 100 * MIB
DEAD_BAND_BYTES = 10 * MIB
FOLDER = "/run/labguest/batch"


def say(words):
    print("%.3f %s" % (time.monotonic(), words), file=sys.stderr, flush=True)


def reactive_target(total_bytes, available_bytes, balloon_bytes):
    """What the balloon is to be, by Proxmox's rule for a single guest."""
    most = memory_scenario.BATCH["memory_mib"] * MIB
    least = memory_scenario.BATCH_FLOOR_MIB * MIB
    goal = int(total_bytes * USED_PART) - (total_bytes - available_bytes)
    if abs(goal) <= DEAD_BAND_BYTES:
        return balloon_bytes
    step = max(-STEP_BYTES_MAX, min(goal, STEP_BYTES_MAX))
    return max(least, min(balloon_bytes + step, most))


def move(monitor, target_bytes):
    say("target_mib=%d" % (target_bytes // MIB))
    qmp.set_balloon(monitor, target_bytes)


def run_reactive(monitor):
    while True:
        memory = memory_host.meminfo_kib()
        balloon = qmp.balloon_bytes(monitor)
        target = reactive_target(memory["MemTotal"] * 1024,
                                 memory["MemAvailable"] * 1024, balloon)
        if target != balloon:
            move(monitor, target)
        time.sleep(PERIOD_S)


def zero_s_of(marks):
    """The guests' time 0 on this clock, by the mark that says how far it is;
    None before that."""
    zero_us = memory_turns.Marks(marks.splitlines()).zero_us
    return None if zero_us is None else zero_us / 1e6


def await_zero_s():
    while True:
        zero_s = zero_s_of(memory_host.read(FOLDER + "/marks"))
        if zero_s is not None:
            return zero_s
        time.sleep(0.05)


def run_oracle(monitor, steps):
    zero_s = await_zero_s()
    for at_s, target_mib in steps:
        time.sleep(max(zero_s + at_s - time.monotonic(), 0))
        move(monitor, target_mib * MIB)
    signal.pause()


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    memory_host.stay_resident()
    monitor = qmp.Monitor(FOLDER + "/qmp")
    say("ready")
    if sys.argv[1] == "oracle":
        with open(sys.argv[2]) as file:
            run_oracle(monitor, json.load(file)["oracle"])
    run_reactive(monitor)


if __name__ == "__main__":
    main()
