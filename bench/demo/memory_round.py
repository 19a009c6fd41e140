#!/usr/bin/python3 -B
# SPDX-License-Identifier: Apache-2.0
"""usage: memory_round.py PLAN

One round of the memory demo, inside the lab. Each controller of PLAN has its
turn with guests that are started for it: what a turn leaves (pages in swap)
would be another's, and mending it takes longer. What was seen goes to $LAB_OUT/turn-NN; a turn that is there is not taken again.
"""
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import memory_scenario
import round as common

CONFIG = "bench/demo/memory.yaml"
SCRATCH = "/run/demo-turn"
START_S = 400  # for guests to start, at most


def start_guests(seed):
    """The first finds out how fast its processor is, for the others too."""
    workloads = memory_scenario.workloads()
    turns = None
    for about in (memory_scenario.RAMP, memory_scenario.BATCH):
        name = about["name"]
        command = ["labguest", "start", name, "--hold", "--drivers", "--memory",
                   str(about["memory_mib"]), "--workload", workloads[name],
                   "--seed", str(seed)]
        if name == "batch":
            command.append("--no-reporting")
        if turns:
            command += ["--cal", turns]
        common.start(command)
        if not turns:
            marks = common.labguest("marks", name)
            turns = marks.split(" CAL ")[1].split()[0]


def refusal():
    """What outriderd says where it does not know the key `memory`; None if it
    takes the configuration. Any other fault in that is ours."""
    check = subprocess.run(["outriderd", "--check-config", "--config", CONFIG],
                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                           text=True)
    if check.returncode == 0:
        return None
    if ": memory: unknown key" not in check.stdout:
        sys.exit("demo: " + check.stdout)
    return check.stdout.strip()


def start_controller(name, plan_file, log):
    if name == "none":
        return None
    if name != "outrider":
        return common.run([sys.executable, "-B", "bench/demo/memory_control.py",
                           name, plan_file], stderr=log)
    if os.path.exists(common.SOCKET):
        os.unlink(common.SOCKET)
    agent = common.run(["outriderd", "--config", CONFIG], stderr=log)
    common.await_true(lambda: os.path.exists(common.SOCKET), 20, agent,
                      "outriderd")
    return agent


def run_beside(turn, plan_file, log):
    """The turn itself: the guests' load with its controller and a recorder."""
    recorder = common.run(
        [sys.executable, "-B", "bench/demo/memory_record.py",
         SCRATCH + "/record.csv", *memory_scenario.GUESTS])
    controller = start_controller(turn["controller"], plan_file, log)
    time.sleep(2)
    common.labguest("go", str(turn["lead_s"]), *memory_scenario.GUESTS)
    time.sleep(turn["lead_s"] + 0.1 + turn["scored_s"] + memory_scenario.TAIL_S)
    common.stop(recorder, "the recorder")
    if controller:
        common.stop(controller, turn["controller"])


def publish(turn, folder):
    """It is there as a whole or not at all."""
    common.write(SCRATCH + "/turn.json", json.dumps(turn) + "\n")
    shutil.copytree(SCRATCH, folder + ".new", dirs_exist_ok=True)
    os.rename(folder + ".new", folder)


def take_turn(turn, plan_file, folder):
    log = SCRATCH + "/controller.log"
    start_guests(turn["seed"])
    try:
        with open(log, "w") as file:
            run_beside(turn, plan_file, file)
    except SystemExit:
        print(common.read(log)[-2000:], flush=True)
        raise
    for name in memory_scenario.GUESTS:
        shutil.copy("/run/labguest/%s/marks" % name, SCRATCH + "/marks-" + name)
    common.labguest("stop", "--all")
    publish(turn, folder)


def main():
    plan_file = sys.argv[1]
    with open(plan_file) as file:
        plan = json.load(file)
    signal.signal(signal.SIGALRM, common.give_up_hung)
    out = os.environ["LAB_OUT"]
    # The emulator loses a guest whose huge pages a balloon takes apart.
    with open("/sys/kernel/mm/transparent_hugepage/enabled", "w") as file:
        file.write("never")
    holder = None
    if any(turn["controller"] == "outrider" for turn in plan["turns"]):
        holder = common.keep_kernel_code_still()
    for number, turn in common.turns_left(plan, [os.path.dirname(plan_file),
                                                 out]):
        common.say("round %d, turn %d of %d: %s" % (
            plan["round"], number, len(plan["turns"]), turn["controller"]))
        turn = dict(turn, round=plan["round"], scored_s=plan["scored_s"],
                    seed=plan["seed"])
        folder = "%s/turn-%02d" % (out, number)
        shutil.rmtree(SCRATCH, ignore_errors=True)
        os.makedirs(SCRATCH)
        if turn["controller"] == "outrider":
            turn["skipped"] = refusal()
        if turn.get("skipped"):
            common.say("outrider is left out: " + turn["skipped"])
            publish(turn, folder)
            continue
        signal.alarm(turn["lead_s"] + turn["scored_s"] + START_S)
        take_turn(turn, plan_file, folder)
    signal.alarm(0)
    if holder:
        common.stop(holder, "the holder")


if __name__ == "__main__":
    main()
