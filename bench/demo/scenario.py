# SPDX-License-Identifier: Apache-2.0
"""What the demo does: its guests, its controllers, its rounds.

Also what the oracle is told, which follows from the guests' seeds alone.
"""
import argparse
import csv
import json
import os

TRACE = "tests/data/demand-10ms.csv"
CEILING = 1300  # milli-CPU: one vCPU, and what QEMU needs beside it
FLOOR = 100
BURST_MCPU = 1000  # what a burst wants: the whole of its vCPU
TICK_US = 10000
MASK = (1 << 64) - 1

# How each loads its one vCPU; batch has two, or it could not take all that is
# left, and what nobody can take would count as held. A period of whole seconds
# would let a loop of 1 s look at each burst in the same place, always in time or
# always too late. Bursts of the two never meet (see seeds_of): with the replay
# they would be more than two processors have, and who waits then waits under any
# controller.
GUESTS = [
    {"name": "periodic", "period_ms": 2100, "work_ms": 250, "jitter": 0.0},
    {"name": "jitter", "period_ms": 2100, "work_ms": 250, "jitter": 0.5},
    {"name": "replay", "trace": TRACE, "scale": 0.25},
    {"name": "batch", "vcpus": 2},
]
LATENCY = ["periodic", "jitter", "replay"]
MARKED = ["periodic", "jitter"]

# A baseline remembers one second; Outrider is to have seen 20 periods.
BASELINE_LEAD_S = 6
LEARNER_LEAD_S = 46
MARGINS = {"static": [0.25, 0.5, 0.75]}
REACTIVE_MARGINS = [0.1, 0.25, 0.5]
LEARNERS = {
    "outrider": "",
    "no_edges": "sense: {edges: false}\n",
    "no_forecast": "shadow: {forecast: false}\n",
}
REACTIVE = ["reactive_1s", "reactive_100ms", "window_p95"]
SCALES = {
    "short": {
        "rounds": 1, "scored_s": 16, "all_margins": False,
        "controllers": ["reactive_1s", "outrider"],
    },
    "plain": {
        "rounds": 2, "scored_s": 30, "all_margins": False,
        "controllers": ["weights_only", "static", *REACTIVE, "outrider",
                        "oracle"],
    },
    "long": {
        "rounds": 3, "scored_s": 76, "all_margins": True,
        "controllers": ["weights_only", "static", *REACTIVE, "outrider",
                        "no_edges", "no_forecast", "oracle"],
    },
}


def next_random(state):
    """SplitMix64, as labworkload.c has it: the new state and the figure."""
    state = (state + 0x9e3779b97f4a7c15) & MASK
    z = state
    z = ((z ^ z >> 30) * 0xbf58476d1ce4e5b9) & MASK
    z = ((z ^ z >> 27) * 0x94d049bb133111eb) & MASK
    return state, z ^ z >> 31


def next_fraction(state):
    state, figure = next_random(state)
    return state, (figure >> 11) * 2.0 ** -53


def work_us(guest):
    return guest["work_ms"] * 1000


def burst_times_us(guest, seed, lead_s, until_s):
    """Begin and work of each burst, after the guest's time 0."""
    period_us = guest["period_ms"] * 1000
    room_us = guest["jitter"] * (period_us - work_us(guest))
    state = seed * 1000003 & MASK
    lead_state = ~state & MASK
    state, phase = next_fraction(state)
    bursts = []
    for index in range(-(lead_s * 1000000 // period_us),
                       until_s * 1000000 // period_us + 1):
        if index < 0:
            lead_state, shift = next_fraction(lead_state)
        else:
            state, shift = next_fraction(state)
        begin = (phase + index) * period_us + shift * room_us
        bursts.append((round(begin), work_us(guest)))
    return bursts


def burst_plan(guest, seed, lead_s, until_s):
    """Steps (at_us, cap): a cap for each burst from 20 ms before it on."""
    steps = []
    for begin, work in burst_times_us(guest, seed, lead_s, until_s):
        at = begin - 20000
        if steps and steps[-1][0] >= at:  # the burst before is hardly over
            steps.pop()
        else:
            steps.append((at, BURST_MCPU + FLOOR))
        steps.append((begin + work, FLOOR))
    return steps


def replay_plan(demand_us, lead_s, until_s):
    """Steps for a demand that is known: the most that any 100 ms near want."""
    count = len(demand_us)
    bins = [sum(demand_us[i:i + 10]) / 100 for i in range(0, count, 10)]
    steps = []
    for index in range(-lead_s * 10, until_s * 10):
        near = [bins[(index + i) % len(bins)] for i in (-1, 0, 1, 2)]
        cap = min(CEILING, round(max(near) * 1.1) + FLOOR)
        if not steps or abs(cap - steps[-1][1]) > 0.1 * steps[-1][1]:
            steps.append((index * 100000, cap))
    return steps


def read_trace(guest):
    """CPU microseconds of each 10 ms."""
    with open(guest["trace"]) as file:
        return [round(int(row["cpu_us"]) * guest["scale"])
                for row in csv.DictReader(file)]


def phase_of(seed):
    """Where in its period a guest's first burst may begin: 0 to 1."""
    return next_fraction(seed * 1000003 & MASK)[1]


def never_meet(periodic_seed, jitter_seed):
    """The jittered one's bursts, wherever they are shifted to, keep clear of
    the others by a tenth of a period, for those that come late."""
    periodic, jitter = GUESTS[:2]
    room = jitter["jitter"] * (1 - duty_of(jitter))
    gap = (phase_of(periodic_seed) - phase_of(jitter_seed)) % 1
    return (room + duty_of(jitter) + 0.1 < gap and
            gap + duty_of(periodic) + 0.1 < 1)


def seeds_of(round_number):
    """By name."""
    seeds = {guest["name"]: 1000 * round_number + i
             for i, guest in enumerate(GUESTS)}
    while not never_meet(seeds["periodic"], seeds["jitter"]):
        seeds["jitter"] += len(GUESTS)
    return seeds


def duty_of(guest):
    return guest["work_ms"] / guest["period_ms"]


def workload_of(guest, trace_file):
    """What labguest is asked to start."""
    if "trace" in guest:
        return "replay:%s,loop,backlog" % trace_file
    if "period_ms" in guest:
        return "burst:%d,%.6f,%g" % (guest["period_ms"], duty_of(guest),
                                     guest["jitter"])
    return "hog"


def mean_mcpu(guest, trace_us):
    if "trace" in guest:
        return round(sum(trace_us) / len(trace_us) / TICK_US * 1000)
    return round(duty_of(guest) * 1000) if "period_ms" in guest else 1000


def peak_mcpu(guest, trace_us):
    if "trace" in guest:
        return round(max(trace_us) / TICK_US * 1000)
    return BURST_MCPU


def margins_of(controller, all_margins):
    if controller in REACTIVE:
        margins = REACTIVE_MARGINS
    else:
        margins = MARGINS.get(controller, [0])
    return margins if all_margins else [margins[len(margins) // 2]]


def turns_of(scale, controllers, round_number):
    """Each controller's turns; each round begins elsewhere, and every second
    one goes the other way."""
    turns = [{"controller": controller, "margin": margin,
              "lead_s": (LEARNER_LEAD_S if controller in LEARNERS
                         else BASELINE_LEAD_S)}
             for controller in controllers
             for margin in margins_of(controller, scale["all_margins"])]
    start = (round_number - 1) * 3 % len(turns)
    turns = turns[start:] + turns[:start]
    return turns if round_number % 2 else turns[::-1]


def write_plans(out, scale, controllers):
    """One folder for each round: plan.json, and what the oracle is told."""
    replay = next(guest for guest in GUESTS if "trace" in guest)
    trace_us = read_trace(replay)
    trace_file = os.path.join(out, "replay-us")
    os.makedirs(out, exist_ok=True)
    with open(trace_file, "w") as file:
        file.writelines("%d\n" % figure for figure in trace_us)
    until_s = scale["scored_s"] + 10
    for number in range(1, scale["rounds"] + 1):
        folder = os.path.join(out, "round-%d" % number)
        os.makedirs(folder)
        plan = {"round": number, "scored_s": scale["scored_s"],
                "turns": turns_of(scale, controllers, number), "guests": []}
        for guest in GUESTS:
            seed = seeds_of(number)[guest["name"]]
            steps = []
            if "period_ms" in guest:
                steps = burst_plan(guest, seed, BASELINE_LEAD_S, until_s)
            elif "trace" in guest:
                steps = replay_plan(trace_us, BASELINE_LEAD_S, until_s)
            oracle = os.path.join(folder, "oracle-" + guest["name"])
            with open(oracle, "w") as file:
                file.writelines("%d %d\n" % step for step in steps)
            plan["guests"].append({
                "name": guest["name"],
                "vcpus": guest.get("vcpus", 1),
                "workload": workload_of(guest, trace_file),
                "seed": seed, "mean": mean_mcpu(guest, trace_us),
                "peak": peak_mcpu(guest, trace_us), "oracle": oracle})
        with open(os.path.join(folder, "plan.json"), "w") as file:
            json.dump(plan, file, indent=1)
            file.write("\n")


def seconds_of(scale, controllers):
    """A guess for one round, without booting."""
    return sum(turn["lead_s"] + scale["scored_s"] + 6
               for turn in turns_of(scale, controllers, 1))


def main():
    parser = argparse.ArgumentParser(description="Plans the demo's rounds.")
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
        for unknown in set(controllers) - set(SCALES["long"]["controllers"]):
            parser.error("no controller is called '%s'" % unknown)
    write_plans(options.out, scale, controllers)
    print(scale["rounds"], seconds_of(scale, controllers))


if __name__ == "__main__":
    main()
