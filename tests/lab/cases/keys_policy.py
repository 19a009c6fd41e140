#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The keys of the policy do something to real cgroups.

What the Controller makes of each key is tests/unit/core/policy_keys_test.cpp's;
here are those that end in a file of the kernel's, or that only the daemon's
shell reads. Each is seen with two values, or beside the default.
"""
import os
import signal
import time

from keys_agent import (LIBVIRT, PROXMOX, Agent, enable_cpu, finish, holds,
                        make_cgroups, start_vm)

SCOPE = os.path.dirname(LIBVIRT)
VCPU = LIBVIRT + "/vcpu0"
UNCAPPED = "max 100000"

# The VM `a` is held at its ceiling, `100` idles in a class that is idle.
ALL = """
mode: enforce
run_directory: /run/keys-tables
hang_deadline_ms: 60000
cpu:
  {split: equal, cap_period_ms: 50, burst_us: 1500, dead_band_percent: 0,
   dead_band_mcpu: 0}
classes:
  batch: {idle: true, floor_percent: 30}
default_class: development
vms:
- {match: a, class: critical, floor_mcpu: 300, ceiling_mcpu: 500, weight: 321}
- {match: "100", class: batch}
"""
# As ALL, with another value for each key that ends in a file.
OTHER = """
mode: enforce
cpu: {weights: false}
vms:
- {match: a, ceiling_mcpu: 300}
- {match: "100", mode: observe}
"""


def read(path):
    with open(path) as file:
        return file.read().strip()


def comes_to(path, wanted, seconds=15):
    """What the file says once it says that, or in the end."""
    deadline = time.monotonic() + seconds
    while read(path) != wanted and time.monotonic() < deadline:
        time.sleep(0.1)
    return read(path)


def allocated(agent):
    """By name; a VM without a cgroup of its own is called after its process."""
    return {vm["name"]: vm for vm in agent.ask("allocations")["vms"]}


def hang(agent, wanted):
    """The agent hangs; what `a` is capped to two seconds later."""
    os.kill(agent.process.pid, signal.SIGSTOP)
    try:
        return comes_to(LIBVIRT + "/cpu.max", wanted, 2)
    finally:
        os.kill(agent.process.pid, signal.SIGCONT)


def check_all():
    with Agent(ALL) as agent:
        cap = comes_to(LIBVIRT + "/cpu.max", "25000 50000")
        holds("mode: enforce", cap != UNCAPPED, cap)
        holds("cpu.cap_period_ms", cap.endswith(" 50000"), cap)
        holds("vms[].ceiling_mcpu", cap.startswith("25000 "), cap)
        burst = comes_to(LIBVIRT + "/cpu.max.burst", "1500")
        holds("cpu.burst_us", burst == "1500", burst)
        part = read(VCPU + "/cpu.max")
        holds("cpu.split: equal", part == "25000 50000", part)
        weight = comes_to(SCOPE + "/cpu.weight", "321")
        holds("vms[].weight", weight == "321", weight)
        idle = comes_to(PROXMOX + "/cpu.idle", "1")
        holds("classes.*.idle", idle == "1", idle)
        idle = read(SCOPE + "/cpu.idle")
        holds("classes.*.idle: false", idle == "0", idle)
        least = comes_to(PROXMOX + "/cpu.max", "15000 50000")
        holds("classes.*.floor_percent", least == "15000 50000", least)
        vms = allocated(agent)
        classes = {name: vm["class"] for name, vm in vms.items()}
        holds("vms[].match", classes["a"] == "critical", str(classes))
        holds("vms[].class", classes["100"] == "batch")
        holds("default_class", "development" in classes.values())
        tables = os.listdir("/run/keys-tables")
        holds("run_directory", len(tables) > 0, str(tables))
        held = hang(agent, UNCAPPED)
        holds("hang_deadline_ms: 60000", held == cap, held)
    back = read(LIBVIRT + "/cpu.max")
    holds("all is put back", back == UNCAPPED, back)


def check_other():
    with Agent(OTHER) as agent:
        cap = comes_to(LIBVIRT + "/cpu.max", "30000 100000")
        holds("cpu.cap_period_ms: default", cap == "30000 100000", cap)
        burst = comes_to(LIBVIRT + "/cpu.max.burst", "10000")
        holds("cpu.burst_us: default", burst == "10000", burst)
        part = read(VCPU + "/cpu.max")
        holds("cpu.split: pooled", part == UNCAPPED, part)
        weight = read(SCOPE + "/cpu.weight")
        holds("cpu.weights", weight == "100", weight)
        left = read(PROXMOX + "/cpu.max")
        mode = allocated(agent)["100"]["mode"]
        holds("vms[].mode", left == UNCAPPED and mode == "observe", left)
        back = hang(agent, UNCAPPED)
        holds("hang_deadline_ms", back == UNCAPPED, back)


def check_modes():
    for config in ("mode: observe", "mode: advise",
                   "mode: enforce\ncpu: {mode: advise}"):
        with Agent(config) as agent:
            time.sleep(1)
            mode = allocated(agent)["a"]["mode"]
            cap = read(LIBVIRT + "/cpu.max")
        key = config.split("\n")[-1]
        holds(key, mode in key and cap == UNCAPPED, "%s, %s" % (mode, cap))


def check_paces():
    ticks = {}
    for key in ("profile: fast", "profile: spec1",
                "shadow: {MonitoringInterval: 200 ms}"):
        with Agent(key) as agent:
            before = agent.ask("status")["ticks"]
            time.sleep(3)
            ticks[key] = agent.ask("status")["ticks"] - before
    fast, spec1, chosen = ticks.values()
    holds("profile", fast > 30 and spec1 <= 4, str(ticks))
    holds("shadow.MonitoringInterval", 8 <= chosen <= 18, str(chosen))


def make_vcpu_cgroup():
    os.mkdir(VCPU)
    with open(VCPU + "/cgroup.type", "w") as file:
        file.write("threaded")
    enable_cpu(LIBVIRT)


def main():
    make_cgroups()
    make_vcpu_cgroup()
    with open(LIBVIRT + "/cpu.max", "w") as file:
        file.write(UNCAPPED)
    vms = [start_vm("spin", LIBVIRT), start_vm("tick:10", PROXMOX),
           start_vm("tick:10")]
    try:
        for check in (check_all, check_other, check_modes, check_paces):
            check()
    finally:
        for vm in vms:
            vm.kill()
    finish()


main()
