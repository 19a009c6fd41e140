#!/usr/bin/python3 -B
# SPDX-License-Identifier: Apache-2.0
"""`outrider vm resize` on real guests: virtio-mem, a DIMM, the balloon and
vCPUs come and go, each confirmed by QEMU and seen by somebody else's monitor;
what a guest refuses or does not do is said, and the rest stays as it was."""
import json
import os
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)),
                                "../../../bench/demo"))
import qmp
from control_case import Agent, guest, holds, lose, wait_until, write

MIB = 1 << 20
REFUSALS = 20 if os.environ.get("OUTRIDER_FULL") == "1" else 2

# As in memory.py: a balloon that takes huge pages apart ends an emulated guest.
write("/sys/kernel/mm/transparent_hugepage/enabled", "never")
guest("big", "--memory", "256", "--drivers")
guest("dumb", "--memory", "256")  # without drivers: it follows nothing
monitors = {name: qmp.Monitor("/run/labguest/%s/qmp" % name)
            for name in ("big", "dumb")}
agent = Agent("mode: enforce\ncpu: {mode: observe}\nmemory: {mode: observe}\n")
wait_until(lambda: len(agent.ask("vm.list")["vms"]) == 2, 30, "not all are seen")


def ask(name, command, **arguments):
    try:
        return monitors[name].ask(command, **arguments)
    except qmp.Lost as error:
        lose(name, "its QEMU is gone: %s" % error)


def resize(name, *options):
    """Exit code, the last state or None, and what was said of it."""
    done = subprocess.run(["outrider", "--json", "vm", "resize", name, *options],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True)
    state = json.loads(done.stdout) if done.stdout else None
    print("resize %s %s: %d %s" % (name, " ".join(options), done.returncode,
                                   done.stderr.strip()), flush=True)
    if state:
        for step in state["steps"]:
            print("  " + json.dumps(step), flush=True)
    if done.returncode:
        ask(name, "query-status")  # is it there at all
    return done.returncode, state, done.stderr


def plugged(name):
    sizes = {"virtio-mem": 0, "dimm": 0}
    for device in ask(name, "query-memory-devices"):
        sizes[device["type"]] += device["data"]["size"] // MIB
    return sizes


def vcpus(name):
    return len(ask(name, "query-cpus-fast"))


def balloon(name):
    return qmp.balloon_bytes(monitors[name]) // MIB


def events(name):
    ask(name, "query-status")
    return [event["event"] for event in monitors[name].take_events()]


# --- A plan changes nothing ---------------------------------------------------
code, state, _ = resize("big", "--memory", "768Mi", "--vcpus", "3", "--dry-run")
holds(code == 0 and [step["what"] for step in state["steps"]] ==
      ["virtio-mem", "plug vCPU", "plug vCPU"] and
      plugged("big")["virtio-mem"] == 0 and vcpus("big") == 1,
      "a dry run tells three steps and does none")

# --- Larger -------------------------------------------------------------------
code, state, _ = resize("big", "--memory", "768Mi")
took = state["steps"][0].get("took_us", 0) / 1e6
holds(code == 0 and plugged("big")["virtio-mem"] == 512 and took <= 1,
      "512 MiB more by virtio-mem, confirmed in %.2f s (at most 1)" % took)
code, state, _ = resize("big", "--vcpus", "3")
seen = []


def told():
    seen.extend(events("big"))
    return seen.count("ACPI_DEVICE_OST") >= 2


# QEMU has plugged them at once; the guest's firmware takes its time.
wait_until(told, 20, "its firmware says nothing of them: %s" % seen)
holds(code == 0 and vcpus("big") == 3,
      "two vCPUs more, and its firmware says so: %s" % seen)
code, state, _ = resize("big", "--memory", "1408Mi")
holds(code == 0 and plugged("big") == {"virtio-mem": 1024, "dimm": 128},
      "all of virtio-mem and a DIMM: %s" % plugged("big"))

# --- Smaller ------------------------------------------------------------------
events("big")
code, state, _ = resize("big", "--vcpus", "1")
seen = events("big")
holds(code == 0 and vcpus("big") == 1 and seen.count("DEVICE_DELETED") >= 2,
      "one vCPU again, both others deleted: %s" % seen)
code, state, _ = resize("big", "--memory", "200Mi")
objects = [each["name"] for each in ask("big", "qom-list", path="/objects")]
holds(code == 0 and plugged("big") == {"virtio-mem": 0, "dimm": 0} and
      balloon("big") == 200 and not [each for each in objects
                                     if each.startswith("outrider")],
      "virtio-mem, the DIMM and its backend are gone, and the balloon takes the "
      "rest: %s" % objects)
code, state, _ = resize("big", "--memory", "256Mi")
holds(code == 0 and balloon("big") == 256 and state["vcpus"] == 1,
      "as it was started")

# --- What cannot be had ---------------------------------------------------------
code, said, _ = resize("big", "--vcpus", "9")
said = said["why"]
holds(code == 1 and "maxcpus" in said, "nine vCPUs: %s" % said)
code, said, _ = resize("big", "--memory", "8Mi")
holds(code == 1 and "floor" in said["why"], "no memory: %s" % said["why"])
code, _, said = resize("big")
holds(code == 2, "nothing asked for: %s" % said.splitlines()[0])

# --- Who does not follow: without drivers, or paused -----------------------
for number in range(REFUSALS):
    code, state, _ = resize("dumb", "--memory", "128Mi", "--timeout", "0.5")
    holds(code == 1 and state["steps"][0]["state"] == "failed" and
          state["memory_bytes"] == 256 * MIB and balloon("dumb") == 256,
          "without a driver nothing moved, and it still counts as holding it")
    ask("dumb", "balloon", value=256 * MIB)
    ask("big", "stop")
    code, state, _ = resize("big", "--memory", "320Mi", "--timeout", "0.5")
    holds(code == 1 and state["memory_bytes"] == 256 * MIB,
          "paused it plugs nothing, and does not count as having it")
    # Before it goes on: what it never plugged it need not unplug.
    ask("big", "qom-set", path="/machine/peripheral/vmem0",
        property="requested-size", value=0)
    ask("big", "cont")
    wait_until(lambda: plugged("big")["virtio-mem"] == 0, 30, "it stays plugged")

agent.end()
for monitor in monitors.values():
    monitor.close()
subprocess.run(["labguest", "stop", "--all"], check=True)
