# SPDX-License-Identifier: Apache-2.0
"""What the memory demo does: its hypervisor, guests, controllers, rounds."""
import argparse
import json
import os

import scenario

MIB = 1 << 20
HYPERVISOR_MIB = 2096
SWAP_MIB = 2048
GUESTS = ["ramp", "batch"]

# The production guest. Its surge is new memory, not what it had before.
RAMP = {"name": "ramp", "memory_mib": 1280, "from_mib": 256, "to_mib": 1024,
        "mib_per_sec": 40, "hold_s": 8, "period_s": 90, "jitter": 0.15}
# It has touched `freed_mib` and given them back; the host still has them. Its
# jobs come between the surges and make it need again what a balloon took.
BATCH = {"name": "batch", "memory_mib": 1024, "freed_mib": 800, "work_mib": 96,
         "job_mib": 320, "offset_s": 45}
BATCH_FLOOR_MIB = 384  # less was never asked of it by anybody

# The oracle takes what is missing at a surge's top, and has it when it begins:
# a balloon gives 20 MiB/s or more.
ORACLE_TAKE_MIB = 460
ORACLE_GIVE_MIB_PER_SEC = 20
# A baseline remembers nothing, but the oracle needs time before the first surge;
# who learns is to have seen one.
BASELINE_LEAD_S = 24
LEARNER_LEAD_S = 95
TAIL_S = 2

LEARNERS = ["outrider"]
ALL = ["none", "reactive", "outrider", "oracle"]
SCALES = {
    "short": {"rounds": 1, "surges": 1, "controllers": ["none", "outrider"]},
    "plain": {"rounds": 1, "surges": 2, "controllers": ALL},
    "long": {"rounds": 3, "surges": 3, "controllers": ALL},
}


def steps_of(guest):
    return guest["to_mib"] - guest["from_mib"]


def nominal_s(guest):
    """How long a surge takes to its top where nobody waits."""
    return steps_of(guest) / guest["mib_per_sec"]


def surge_times_s(guest, seed, surges):
    """Begin of each, after the guest's time 0; as labmemory.c draws them."""
    room = guest["period_s"] - nominal_s(guest) - guest["hold_s"]
    state = seed * 1000003 & scenario.MASK
    times = []
    for index in range(surges):
        state, part = scenario.next_fraction(state)
        times.append(index * guest["period_s"] + guest["jitter"] * part * room)
    return times


def oracle_plan(seed, surges):
    """Steps (at_s, target_mib) of the batch guest's balloon."""
    ahead = ORACLE_TAKE_MIB / ORACLE_GIVE_MIB_PER_SEC
    plan = []
    for begin in surge_times_s(RAMP, seed, surges):
        plan.append((max(begin - ahead, -BASELINE_LEAD_S),
                     BATCH["memory_mib"] - ORACLE_TAKE_MIB))
        plan.append((begin + nominal_s(RAMP) + RAMP["hold_s"],
                     BATCH["memory_mib"]))
    return plan


def scored_s(scale):
    return RAMP["period_s"] * scale["surges"]


def lead_of(controller):
    return LEARNER_LEAD_S if controller in LEARNERS else BASELINE_LEAD_S


def plan_of(scale, controllers, number):
    """One round. Each begins elsewhere, and every second goes the other way."""
    start = (number - 1) % len(controllers)
    order = controllers[start:] + controllers[:start]
    if number % 2 == 0:
        order = order[::-1]
    return {"round": number, "scored_s": scored_s(scale), "seed": 7000 + number,
            "oracle": oracle_plan(7000 + number, scale["surges"]),
            "turns": [{"controller": controller, "margin": 0,
                       "lead_s": lead_of(controller)}
                      for controller in order]}


def workloads():
    """What labguest is asked to start, by guest."""
    return {
        "ramp": "surge:%(from_mib)d,%(to_mib)d,%(mib_per_sec)g,%(hold_s)g,"
                "%(period_s)g,%(jitter)g" % RAMP,
        "batch": "freed:%(freed_mib)d,%(work_mib)d,%(job_mib)d," % BATCH +
                 "%g,%g" % (RAMP["period_s"], BATCH["offset_s"]),
    }


def seconds_of(plan):
    """A guess for one round: its turns, and their guests' start."""
    return sum(turn["lead_s"] + plan["scored_s"] + 75 for turn in plan["turns"])


def main():
    parser = argparse.ArgumentParser(description="Plans the memory demo.")
    parser.add_argument("scale", choices=SCALES)
    parser.add_argument("out")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--controllers", help="only these, by comma")
    options = parser.parse_args()
    scale = dict(SCALES[options.scale])
    if options.rounds:
        scale["rounds"] = options.rounds
    controllers = scale["controllers"]
    if options.controllers:
        controllers = options.controllers.split(",")
        for unknown in set(controllers) - set(ALL):
            parser.error("no controller is called '%s'" % unknown)
    for number in range(1, scale["rounds"] + 1):
        folder = os.path.join(options.out, "round-%d" % number)
        os.makedirs(folder)
        plan = plan_of(scale, controllers, number)
        with open(os.path.join(folder, "plan.json"), "w") as file:
            json.dump(plan, file, indent=1)
            file.write("\n")
    print(scale["rounds"], seconds_of(plan))
    print(HYPERVISOR_MIB, SWAP_MIB)


if __name__ == "__main__":
    main()
