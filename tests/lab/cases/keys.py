#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Every key of the configuration does something.

Each is set and what follows is looked at, on small VMs in a lab: a key that is
read into the configuration and then ignored fails here.
"""
import os
import stat
import time

from keys_agent import (LIBVIRT, LOG, PROXMOX, Agent, finish, holds,
                        make_cgroups, start_vm)


def check_paces():
    with Agent("tick_period_ms: 100") as agent:
        before = agent.ask("status")["ticks"]
        time.sleep(3)
        ticks = agent.ask("status")["ticks"] - before
    holds("tick_period_ms", 20 <= ticks <= 35, "%d ticks in 3 s" % ticks)
    counts = {}
    for slow in (50, 5000):
        with Agent("slow_period_ms: %d\nsense: {sensor: files}" % slow) as agent:
            before = agent.vm_count()
            vm = start_vm("spin")
            time.sleep(3)
            counts[slow] = agent.vm_count() - before
            vm.kill()
            vm.wait()
    holds("slow_period_ms", counts == {50: 1, 5000: 0}, str(counts))


def check_sensor():
    for sensor in ("bpf", "files"):
        with Agent("sense: {sensor: %s}" % sensor) as agent:
            holds("sense.sensor: " + sensor,
                  agent.ask("status")["sensor"] == sensor)


def check_blame():
    def blame(config):
        with Agent(config) as agent:
            time.sleep(4)
            return [row["wait_ns"] for row in agent.rows("blame")]
    on = blame("sense: {blame: true, blame_sample: 7}")
    off = blame("sense: {blame: false}")
    holds("sense.blame", on and not off, "%d and %d rows" % (len(on), len(off)))
    # One in seven waits is looked at, and counts for seven.
    holds("sense.blame_sample", on and all(ns % 7 == 0 for ns in on))


def check_guest_time():
    for wanted in (True, False):
        with Agent("sense: {guest_time: %s}" % str(wanted).lower()) as agent:
            time.sleep(2)
            guest = sum(row["guest_ns"] for row in agent.rows("vcpus"))
        holds("sense.guest_time: %s" % wanted, (guest > 0) == wanted)


def check_edges():
    def edges(config):
        with Agent(config) as agent:
            before = agent.ask("status")["edges"]
            time.sleep(3)
            return agent.ask("status")["edges"] - before
    every = "edge: {quota_reaction_us: %d, wait_climb_us: %d}"
    both = edges(every % (2000, 2000))
    quota = edges(every % (2000, 0))
    wait = edges(every % (0, 2000))
    late = edges(every % (0, 900000))
    none = edges(every % (0, 0))
    off = edges("sense: {edges: false}")
    seen = "both %d, quota %d, wait %d, late %d, none %d, off %d" % (
        both, quota, wait, late, none, off)
    holds("sense.edges", both > 0 and off == 0, seen)
    holds("edge.quota_reaction_us", quota > 0 and none == 0)
    holds("edge.wait_climb_us", wait > late and none == 0)


def check_discovery():
    def count(config):
        with Agent(config) as agent:
            time.sleep(1)
            return agent.vm_count()
    holds("discovery", count("") == 3)
    for key in ("discovery.libvirt", "discovery.proxmox",
                "discovery.processes"):
        holds(key, count("%s: {%s: false}" % tuple(key.split("."))) == 2)
    holds("vm_count_max", count("vm_count_max: 2") == 2)


def waits_in(pid):
    """What the main thread's loop is: the ring of BPF has an epoll anyway."""
    links = [os.readlink("/proc/%d/fd/%s" % (pid, fd))
             for fd in os.listdir("/proc/%d/fd" % pid)]
    ring = "anon_inode:[io_uring]" in links
    return "[io_uring]" if ring else "[eventpoll]"


def check_process():
    for priority in (0, 7):
        with Agent("loop_priority: %d" % priority) as agent:
            policy = os.sched_getscheduler(agent.process.pid)
            policy &= ~getattr(os, "SCHED_RESET_ON_FORK", 0x40000000)
            found = os.sched_getparam(agent.process.pid).sched_priority
        want = os.SCHED_FIFO if priority else os.SCHED_OTHER
        holds("loop_priority: %d" % priority,
              policy == want and found == priority)
    for backend, want in (("auto", "[eventpoll]"), ("epoll", "[eventpoll]"),
                          ("io_uring", "[io_uring]")):
        with Agent("event_backend: " + backend) as agent:
            found = waits_in(agent.process.pid)
            ticks = agent.ask("status")["ticks"]
        holds("event_backend: " + backend, found == want and ticks > 0, found)
    lines = {}
    for level in ("error", "info"):
        with Agent("log_level: " + level):
            time.sleep(0.5)
        lines[level] = len(open(LOG).readlines())
    holds("log_level", lines["error"] == 0 and lines["info"] > 0, str(lines))


def check_control():
    with open("/etc/group", "a") as file:
        file.write("eyes:x:4711:\n")
    path = "/run/keys/control.sock"
    config = "control: {socket: %s, mode: \"0620\", group: eyes}" % path
    with Agent(config, path) as agent:
        info = os.stat(path)
        holds("control.socket", agent.ask("status")["ok"])
        holds("control.mode", stat.S_IMODE(info.st_mode) == 0o620)
        holds("control.group", info.st_gid == 4711)


def check_cgroup_mount(pid):
    """A tree of ordinary files, with a cgroup that the host has not."""
    os.makedirs("/run/tree/elsewhere")
    with open("/run/tree/elsewhere/cpu.stat", "w") as file:
        file.write("usage_usec 0\n")
    none = "discovery: {libvirt: false, proxmox: false, processes: false}\n"
    found = []
    for config in (none, none + "cgroup_mount: /run/tree"):
        with Agent(config) as agent:
            found.append(agent.ask("vm.attach", pid=pid,
                                   cgroup="/elsewhere")["ok"])
    holds("cgroup_mount", found == [False, True], str(found))


def check_journal():
    seen = []
    for enabled in ("true", "false"):
        where = "/run/journal-" + enabled
        with Agent("journal: {enabled: %s, directory: %s}" % (enabled, where)):
            time.sleep(1)
            seen.append(os.path.isdir(where) and len(os.listdir(where)) > 0)
    holds("journal.enabled", seen == [True, False], str(seen))
    holds("journal.directory", seen[0])


def main():
    make_cgroups()
    with open(LIBVIRT + "/cpu.max", "w") as file:
        file.write("20000 100000")
    vms = [start_vm("spin", LIBVIRT), start_vm("spin", PROXMOX),
           start_vm("tick:100")]
    try:
        for check in (check_paces, check_sensor, check_blame, check_guest_time,
                      check_edges, check_discovery, check_process,
                      check_control, check_journal):
            check()
        check_cgroup_mount(vms[0].machine)
    finally:
        for vm in vms:
            vm.kill()
    finish()


main()
