#!/usr/bin/python3 -B
# SPDX-License-Identifier: Apache-2.0
"""Acceptance 3.5 with systemd in charge (scripts/lab --systemd): installed and
started as README says. Agent and warden killed together, a hung agent, and a
plain stop: each limit is back where its owner had it, and where the agent was to
run it runs again."""
import os
import re
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
from control_case import (Writes, holds, read, small_vm, wait_until, wardens,
                          write)

TOP = os.path.realpath(__file__).rsplit("/tests/", 1)[0]
CONFIG = """mode: enforce
cpu: {lower_after_ms: 50, writes_per_minute: 6000}
shadow: {reserve_horizon_ms: 300}
"""
# Time to see that all is back before the next agent moves it.
DROP_IN = """[Unit]
DefaultDependencies=no
[Service]
RestartSec=4
StandardError=append:/run/outriderd.log
"""
KNOBS = ("cpu.max", "cpu.max.burst", "cpu.weight")


def systemctl(*words):
    subprocess.run(["systemctl", *words], check=True)


def main_pid():
    said = subprocess.run(["systemctl", "show", "-p", "MainPID", "outriderd"],
                          check=True, stdout=subprocess.PIPE, text=True).stdout
    return int(re.search("MainPID=([0-9]+)", said).group(1))


def install():
    with open(TOP + "/README.md") as file:
        lines = re.findall("^install -D .*", file.read(), re.MULTILINE)
    holds(len(lines) == 4, "README installs %d files" % len(lines))
    for line in lines:
        subprocess.run(line.split(), check=True, cwd=TOP)
    os.makedirs("/etc/outrider", exist_ok=True)
    write("/etc/outrider/outrider.yaml", CONFIG)
    os.makedirs("/run/systemd/system/outriderd.service.d", exist_ok=True)
    write("/run/systemd/system/outriderd.service.d/lab.conf", DROP_IN)
    systemctl("daemon-reload")


def limits():
    return [read(cgroup + "/" + knob) for cgroup in cgroups for knob in KNOBS]


def is_back():
    return limits() == baselines


def wait_moving(what):
    start = time.monotonic()
    wait_until(lambda: all(len(each.since(start)) >= 3 for each in writes), 60,
               what)


def restored(what):
    return wait_until(is_back, 3, "%s: not back: %s" % (what, limits()))


def check_both():
    agent, warden = main_pid(), wardens()
    holds(len(warden) == 1, "one warden runs")
    os.kill(agent, signal.SIGSTOP)  # else it starts another
    os.kill(warden[0], signal.SIGKILL)
    time.sleep(0.5)
    holds(not is_back(), "both dead or stopped: nobody has put anything back")
    os.kill(agent, signal.SIGKILL)
    took = restored("agent and warden killed")
    holds(True, "agent and warden killed: systemd has put all back in %.0f ms" %
          (1e3 * took))
    wait_moving("it is not started again")
    holds(main_pid() not in (0, agent), "and has started it again")


def check_hang():
    agent = main_pid()
    os.kill(agent, signal.SIGSTOP)
    took = restored("agent stopped")
    holds(True, "agent stopped: its warden has put all back in %.0f ms" %
          (1e3 * took))
    wait_until(lambda: main_pid() not in (0, agent), 30,
               "the watchdog does not replace it")
    wait_moving("the next one does not enforce")
    holds(True, "the watchdog has replaced it, and caps move again")


def check_stop():
    systemctl("stop", "outriderd")
    holds(is_back(), "stopped by systemctl: all is back, or else: %s" % limits())
    holds(not wardens(), "and no warden is left")


install()
vms = [small_vm(100, "burst:200,50000"), small_vm(101, "burst:330,60000")]
cgroups = [cgroup for _, cgroup in vms]
write(cgroups[1] + "/cpu.max", "80000 100000")
baselines = limits()
writes = [Writes(cgroup) for cgroup in cgroups]
try:
    systemctl("start", "outriderd")
    wait_moving("a cap does not move")
    check_both()
    check_hang()
    check_stop()
finally:
    systemctl("stop", "outriderd")  # for another try
    for vm, _ in vms:
        vm.kill()
