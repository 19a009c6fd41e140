#!/usr/bin/python3 -B
# SPDX-License-Identifier: Apache-2.0
"""usage: round.py PLAN

One round of the demo, inside the lab: starts the guests once and lets each
controller of PLAN take its turn with them. All of a turn's guests are told to
begin in the same instant, so each controller meets the very same load. What was
seen of a turn goes to $LAB_OUT/turn-NN. A turn that is there already, beside
PLAN or in $LAB_OUT, is not taken again: after a lost guest or hypervisor the
round goes on.
"""
import atexit
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import traceback

import scenario

GUESTS_FILE = "/run/demo-guests"
CONFIG = "/run/demo-outrider.yaml"
SOCKET = "/run/outrider/control.sock"
KEY_GROUP = "/sys/fs/cgroup/demo-keys-quota-in-use"
NO_CAP = "max 100000"
START_TRIES = 4
TAIL_S = 2.5  # for the last bursts to end
TURN_EXTRA_S = 60  # for what a turn does beside its time
HUNG = 75  # exit code: what is missing may be tried again
WEIGHT = "400"  # of latency guests; batch is idle class

CONFIG_TEXT = """\
mode: enforce
cpu: {host_share_mcpu: 100, weights: false}
journal: {directory: /run/demo-turn/journal}
vms:
  - {match: periodic, class: production, floor_mcpu: 100, ceiling_mcpu: 1300}
  - {match: jitter, class: production, floor_mcpu: 100, ceiling_mcpu: 1300}
  - {match: replay, class: production, floor_mcpu: 100, ceiling_mcpu: 1300}
  - {match: batch, class: batch, floor_mcpu: 100, ceiling_mcpu: 2000}
"""


def say(text):
    print("demo: " + text, flush=True)


def read(path):
    with open(path) as file:
        return file.read()


def write(path, text):
    with open(path, "w") as file:
        file.write(text)


def labguest(*words):
    return subprocess.run(["labguest", *words], check=True,
                          stdout=subprocess.PIPE, text=True).stdout


def await_true(condition, seconds, process, what):
    deadline = time.monotonic() + seconds
    while not condition():
        if process.poll() is not None or time.monotonic() > deadline:
            sys.exit("demo: %s does not start" % what)
        time.sleep(0.1)


def run(command, **streams):
    """In the background; what is left at the end is ended then."""
    process = subprocess.Popen(command, **streams)
    atexit.register(process.kill)
    return process


def stop(process, what):
    """Told once, as an operator would; returns when it is gone."""
    process.terminate()
    try:
        code = process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        sys.exit("demo: %s does not stop" % what)
    if code != 0:
        sys.exit("demo: %s ended with %d" % (what, code))


class Guest:
    """One running guest, and the files that hold its limits."""

    def __init__(self, plan):
        self.name = plan["name"]
        self.plan = plan
        self.folder = "/run/labguest/" + self.name
        self.cgroup = read(self.folder + "/cgroup").strip()
        self.marks_seen = 0
        above = os.path.dirname(self.cgroup)
        self.weight_file = above + "/cpu.weight"
        if self.name in scenario.LATENCY:
            write(self.weight_file, WEIGHT)
        else:
            write(above + "/cpu.idle", "1")
        self.weight = read(self.weight_file).strip()

    def limits(self):
        return (read(self.cgroup + "/cpu.max").strip(),
                read(self.weight_file).strip())

    def free(self):
        write(self.cgroup + "/cpu.max", NO_CAP)

    def line(self):
        latency = self.name in scenario.LATENCY
        ceiling = scenario.CEILING if latency else 2000
        words = [self.name, read(self.folder + "/pid").strip(), self.cgroup,
                 "latency" if latency else "batch", ceiling, self.plan["mean"],
                 self.plan["peak"], self.folder + "/marks",
                 self.plan["oracle"]]
        return " ".join(map(str, words)) + "\n"

    def new_marks(self):
        text = read(self.folder + "/marks")[self.marks_seen:]
        self.marks_seen += len(text)
        return text


def start_guests(plans):
    # The first finds out how fast its processor is; the others are told, as
    # they would find out together. Beside it somebody else is busy, as the
    # batch guest will be: two threads of one core are slower than one.
    first = plans[0]
    say("starting %d guests" % len(plans))
    neighbour = run(["sh", "-c", "while :; do :; done"])

    def command(plan, *more):
        return ["labguest", "start", plan["name"], "--hold", "--workload",
                plan["workload"], "--seed", str(plan["seed"]), "--vcpus",
                str(plan["vcpus"]), *more]

    start(command(first))
    neighbour.kill()
    turns = labguest("marks", first["name"]).split(" CAL ")[1].split()[0]
    for plan in plans[1:]:
        start(command(plan, "--cal", turns))
    return [Guest(plan) for plan in plans]


def start(command):
    """One at a time, and again: an emulated processor now and then resets a
    guest that boots, above all beside another."""
    for _ in range(START_TRIES):
        if subprocess.run(command).returncode == 0:
            return
    sys.exit("demo: a guest does not start")


def keep_kernel_code_still():
    """An emulator with two processors may stumble over code that is changed
    under load; so whatever is switched on by a first user has one before."""
    os.makedirs(KEY_GROUP, exist_ok=True)
    write(KEY_GROUP + "/cpu.max", "50000 100000")
    holder = run(["bench_demo", "hold"], stdout=subprocess.PIPE)
    if holder.stdout.readline() != b"held\n":
        sys.exit("demo: the eyes do not open")
    return holder


def start_controller(turn, log):
    name = turn["controller"]
    if name == "weights_only":
        return None
    if name not in scenario.LEARNERS:
        return run(["bench_demo", "control", name, str(turn["margin"]),
                    GUESTS_FILE], stderr=log)
    if os.path.exists(SOCKET):
        os.unlink(SOCKET)
    write(CONFIG, CONFIG_TEXT + scenario.LEARNERS[name])
    agent = run(["outriderd", "--config", CONFIG], stderr=log)
    await_true(lambda: os.path.exists(SOCKET), 20, agent, "outriderd")
    return agent


def check_restored(guests):
    """Whoever acted as agent has put everything back."""
    for guest in guests:
        limits = guest.limits()
        if limits != (NO_CAP, guest.weight):
            sys.exit("demo: outriderd left %s with cpu.max '%s' and cpu.weight "
                     "'%s'" % ((guest.name,) + limits))


def run_beside(turn, guests, scratch, log):
    """The turn itself: the guests' load with its controller and a recorder."""
    controller = start_controller(turn, log)
    recorder = run(["bench_demo", "record", GUESTS_FILE,
                    scratch + "/record.csv", SOCKET])
    time.sleep(1)
    labguest("go", str(turn["lead_s"]), *[guest.name for guest in guests])
    time.sleep(turn["lead_s"] + 0.1 + turn["scored_s"] + TAIL_S)
    stop(recorder, "the recorder")
    if controller:
        stop(controller, turn["controller"])


def give_up_hung(_, frame):
    """Whatever never answers is a guest or a processor of the emulator's."""
    print("demo: a turn does not end", flush=True)
    traceback.print_stack(frame, file=sys.stdout)
    os._exit(HUNG)


def take_turn(turn, guests, folder):
    labguest("hold", *[guest.name for guest in guests])
    for guest in guests:
        guest.new_marks()
    scratch = "/run/demo-turn"
    os.makedirs(scratch, exist_ok=True)
    log = scratch + "/controller.log"
    try:
        with open(log, "w") as file:
            run_beside(turn, guests, scratch, file)
    except SystemExit:
        print(read(log)[-2000:], flush=True)
        raise
    if turn["controller"] in scenario.LEARNERS:
        check_restored(guests)
    for guest in guests:
        guest.free()
        write(scratch + "/marks-" + guest.name, guest.new_marks())
    write(scratch + "/turn.json", json.dumps(turn) + "\n")
    # It is there as a whole or not at all.
    shutil.copytree(scratch, folder + ".new", dirs_exist_ok=True)
    os.rename(folder + ".new", folder)
    shutil.rmtree(scratch)


def name_of(turn):
    if not turn["margin"]:
        return turn["controller"]
    return "%s, margin %g" % (turn["controller"], turn["margin"])


def turns_left(plan, places):
    """(number, turn) of those that were not recorded yet."""
    return [(number, turn) for number, turn in enumerate(plan["turns"], 1)
            if not any(os.path.exists(
                "%s/turn-%02d/turn.json" % (place, number))
                for place in places)]


def main():
    with open(sys.argv[1]) as file:
        plan = json.load(file)
    signal.signal(signal.SIGALRM, give_up_hung)
    places = [os.path.dirname(sys.argv[1]), os.environ["LAB_OUT"]]
    holder = keep_kernel_code_still()
    guests = start_guests(plan["guests"])
    write(GUESTS_FILE, "".join(guest.line() for guest in guests))
    for number, turn in turns_left(plan, places):
        say("round %d, turn %d of %d: %s" % (
            plan["round"], number, len(plan["turns"]), name_of(turn)))
        turn = dict(turn, round=plan["round"], scored_s=plan["scored_s"])
        signal.alarm(turn["lead_s"] + turn["scored_s"] + TURN_EXTRA_S)
        take_turn(turn, guests,
                  "%s/turn-%02d" % (os.environ["LAB_OUT"], number))
    stop(holder, "the holder")
    labguest("stop", "--all")


if __name__ == "__main__":
    main()
