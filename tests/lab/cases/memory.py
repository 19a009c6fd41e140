#!/usr/bin/python3 -B
# SPDX-License-Identifier: Apache-2.0
"""Memory is kept free through real guests' balloons: what lies idle is taken
and comes free on the host, never under the floor; who needs it gets it back; who
cannot or must not give is not asked; and an agent that dies leaves guests as
they are, for the next one to put back. QMP, the kernel's files and the guests'
marks are the measure."""
import os
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)),
                                "../../../bench/demo"))
import qmp
from control_case import Agent, guest, holds, lose, read, wait_until, write

MIB = 1 << 20
CYCLES = 200 if os.environ.get("OUTRIDER_FULL") == "1" else 1
# All but a tenth of the host is to be free: there is always a shortage, so what
# can be taken is.
CONFIG = """mode: enforce
cpu: {mode: observe}
memory: {mode: enforce, period_ms: %d, learn_s: 3, host_share_percent: 90,
         give_after_s: 3600}
vms:
  - {match: batch, class: batch, memory_floor_mib: 192}
  - {match: calm, class: batch, balloon_enabled: false}
  - {match: dumb, class: batch}
"""

# The emulator loses a guest whose huge pages a balloon takes apart: without a
# word, within seconds. Without them it does not.
write("/sys/kernel/mm/transparent_hugepage/enabled", "never")
cgroups = {
    "batch": guest("batch", "--memory", "512", "--drivers", "--no-reporting",
                   "--console", "--workload", "freed:300,16,100,30,15"),
    "calm": guest("calm"),
    "dumb": guest("dumb"),  # without drivers it cannot follow
}
# Of a guest's sockets the agent takes the one with its name.
monitors = {name: qmp.Monitor("/run/labguest/%s/qmp" % name)
            for name in cgroups}


def balloon(name):
    try:
        return qmp.balloon_bytes(monitors[name]) // MIB
    except qmp.Lost as error:
        for file in ("marks", "console", "qemu.log"):
            print("%s: %s" % (file, tail("/run/labguest/%s/%s" % (name, file))),
                  flush=True)
        print(tail("/run/outriderd.log"), flush=True)
        lose(name, "its QEMU is gone: %s" % error)


def tail(path):
    return read(path)[-2000:] if os.path.exists(path) else ""


def resident(name):
    return int(read(cgroups[name] + "/memory.current")) // MIB


def marks(word):
    return [line for line in
            read("/run/labguest/batch/marks").splitlines() if word in line]


def memory_of(agent, name):
    return next(vm for vm in agent.ask("memory")["vms"] if vm["name"] == name)


def start(period_ms=100):
    agent = Agent(CONFIG % period_ms)
    wait_until(lambda: len(agent.ask("memory")["vms"]) == 3, 30,
               "not all are watched")
    return agent


print("as they start: %s" % {name: (balloon(name), resident(name))
                             for name in cgroups}, flush=True)
before = resident("batch")
agent = start()
wait_until(lambda: memory_of(agent, "batch")["qmp"] == "ready", 20,
           "batch's QEMU is not reached")
least = [512]


def taken():
    least[0] = min(least[0], balloon("batch"))
    return balloon("batch") <= 350


took = wait_until(taken, 90, "it gives nothing: %s" %
                  agent.ask("memory"))
state = memory_of(agent, "batch")
freed = before - resident("batch")
holds(freed >= 100, "in %.1f s its balloon took %d MiB, and %d came free on the "
      "host" % (took, 512 - balloon("batch"), freed))
holds(state["taken_bytes"] // MIB >= 100,
      "it is told so: taken %d MiB" % (state["taken_bytes"] // MIB))

# --- Who must not or cannot give ------------------------------------------------
for name, why in (("calm", "forbidden"), ("dumb", "silent")):
    holds(balloon(name) == 256 and memory_of(agent, name)["asked"] == 0 and
          memory_of(agent, name)["cooperation"] == why,
          "%s is not asked: %s" % (name, why))

# --- Taken and given back, over and over: a job needs 100 MiB more ---------------
floor = 192
jobs = len(marks(" JOB "))
deadline = time.monotonic() + 45 * CYCLES + 60
lowest_free = []
while len(marks(" JOB ")) < jobs + CYCLES:
    if time.monotonic() > deadline:
        lose("batch", "its jobs do not end")
    least[0] = min(least[0], balloon("batch"))
    time.sleep(0.1)
state = memory_of(agent, "batch")
holds(not marks("KILLED"), "%d jobs came and went, and nobody was killed" %
      (len(marks(" JOB ")) - jobs))
holds(floor <= least[0], "never under the floor of %d MiB: %d at the least" %
      (floor, least[0]))
print("asked %(asked)d times, in vain %(refused)d; short itself "
      "%(distressed)d times" % state, flush=True)

# --- Killed: guests keep what they have, and the next agent knows what they had --
wait_until(lambda: balloon("batch") <= 400, 90, "it gives nothing more")
agent.process.send_signal(signal.SIGKILL)
agent.process.wait()
at_death = balloon("batch")
time.sleep(2)
holds(floor <= balloon("batch") <= 512 and not marks("KILLED"),
      "killed: its balloon leaves it %d MiB (%d)" % (balloon("batch"), at_death))


def looks(agent):
    """How often its figures of the host were new within 4 s."""
    seen, end = set(), time.monotonic() + 4
    while time.monotonic() < end:
        seen.add(agent.ask("memory")["host"]["available_bytes"])
        time.sleep(0.02)
    return len(seen)


agent = start(1000)
slow = looks(agent)
holds(agent.end() == 0, "another agent came, and ended")
wait_until(lambda: balloon("batch") == 512, 30, "it is not as it was")
print("ok: all balloons are as they were: %s" %
      {name: balloon(name) for name in cgroups}, flush=True)

# --- A QEMU that hangs costs the others nothing ----------------------------------
agent = start(50)
wait_until(lambda: memory_of(agent, "batch")["qmp"] == "ready", 20,
           "batch's QEMU is not reached")
fast = looks(agent)
holds(slow <= 6 and fast > slow, "memory.period_ms: %d new figures at 1000, %d "
      "at 50" % (slow, fast))
pid = int(read("/run/labguest/dumb/pid"))
ticks = agent.ask("status")["ticks"]
os.kill(pid, signal.SIGSTOP)
try:
    hung = wait_until(lambda: memory_of(agent, "dumb")["qmp"] in
                      ("hung", "open"), 20, "a stopped QEMU is not noticed")
    holds(memory_of(agent, "batch")["qmp"] == "ready",
          "a stopped QEMU was noticed in %.1f s, the others are well" % hung)
finally:
    os.kill(pid, signal.SIGCONT)
wait_until(lambda: memory_of(agent, "dumb")["qmp"] == "ready", 60,
           "it does not come back")
holds(agent.ask("status")["ticks"] > ticks, "it is back, and the loop ran on")
agent.end()
for monitor in monitors.values():
    monitor.close()
subprocess.run(["labguest", "stop", "--all"], check=True)
