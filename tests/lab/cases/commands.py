#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""README's commands about limits work as printed, on real cgroups.

They are read from README, in their order: those of the block that begins with a
dry run while outriderd is alive, then `outrider release` when it was killed
together with its warden. The VM is called `a` here.
"""
import os
import re
import signal
import subprocess
import time

from keys_agent import (LIBVIRT, Agent, finish, holds, make_cgroups, start_vm)

CAP = LIBVIRT + "/cpu.max"
BASELINE = "90000 100000"


def block_with(command):
    """The commands of README's block that begins with that one."""
    for block in re.findall(r"```sh\n(.*?)```", open("README.md").read(), re.S):
        if block.startswith(command):
            return [line.split("#")[0].replace(" web", " a").strip()
                    for line in block.splitlines()]
    return []


def cap():
    with open(CAP) as file:
        return file.read().strip()


def is_there(baseline):
    """Within twenty seconds: the baseline, or a cap of Outrider's."""
    deadline = time.monotonic() + 20
    while (cap() == BASELINE) != baseline and time.monotonic() < deadline:
        time.sleep(0.05)
    return (cap() == BASELINE) == baseline


def run(command):
    done = subprocess.run(command, shell=True, capture_output=True, text=True)
    print(command + "\n" + done.stdout + done.stderr, flush=True)
    return done


# What is in the file after it; others change nothing.
BASELINE_AFTER = {"mode enforce --dry-run": True, "mode enforce": False,
                  "vm mode a advise": True, "vm mode a enforce": False,
                  "vm let-go a": True, "vm take-up a": False,
                  "mode observe": True}


def check_alive():
    commands = block_with("outrider mode enforce --dry-run")
    holds("README has the block", len(commands) >= 9)
    with Agent("") as agent:
        for command in commands:
            name = command.removeprefix("outrider ")
            holds(name, run(command).returncode == 0)
            if name in BASELINE_AFTER:
                holds(name, is_there(BASELINE_AFTER[name]), cap())
        holds("in the end", agent.ask("status")["ok"])


def kill_both(agent):
    """None of the two can put anything back."""
    children = subprocess.run(["pgrep", "-P", str(agent.process.pid)],
                              capture_output=True, text=True, check=True)
    warden = int(children.stdout.split()[0])
    for pid in (warden, agent.process.pid):
        os.kill(pid, signal.SIGSTOP)
    for pid in (warden, agent.process.pid):
        os.kill(pid, signal.SIGKILL)


def check_dead():
    commands = block_with("outrider release --dry-run")
    holds("README has the other block", len(commands) == 2)
    with Agent("mode: enforce") as agent:
        holds("it is capped", is_there(False), cap())
        kill_both(agent)
        agent.process.wait()
    holds("it is stranded", is_there(False), cap())
    dry, real = commands
    holds("release --dry-run", run(dry).returncode == 0 and is_there(False))
    holds("release", run(real).returncode == 0 and is_there(True), cap())


def main():
    make_cgroups()
    with open(CAP, "w") as file:
        file.write(BASELINE)
    vm = start_vm("tick:10", LIBVIRT, "--uuid",
                  "6c1f0c4e-2bd1-4d7a-9d2f-0f4b6a6f1a11")
    try:
        check_alive()
        check_dead()
    finally:
        vm.kill()
    finish()


main()
