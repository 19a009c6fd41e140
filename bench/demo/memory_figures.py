#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""usage: memory_figures.py short|plain|long OUT RESULT

From what the turns of the memory demo left in OUT: RESULT (JSON), a table, and
whether what is claimed holds. docs/demo.md says how each figure is taken.
"""
import json
import statistics
import sys

import figures
import memory_scenario
import memory_turns
import turns

# Rows of the record so far apart say that somebody else was using the machine,
# and the emulator stood still.
GAP_S_MAX = 5
# Of all surges together.
SURGE_FIGURES = ["surge_s", "step_ms", "hold_ms_max", "available_at_begin_mib",
                 "given_at_begin_mib", "batch_job_s"]
# A sum over a turn; the median of the rounds.
TURN_FIGURES = ["swapped_out_mib", "swapped_in_mib", "pgscan_direct",
                "allocstall", "host_some_s", "host_full_s", "ramp_some_s",
                "ramp_full_s", "ramp_majflt", "guest_pgmajfault",
                "guest_allocstall", "batch_work_ratio", "batch_stall_ms_max",
                "batch_majflt", "balloon_end_mib", "gap_s"]


def summarise(of_rounds):
    """One controller: surges of all rounds together, the rest as the median of
    the rounds, with the least and the most under `spread`; kills are summed."""
    result, spread = {}, {}
    for name in SURGE_FIGURES:
        pooled = [value for one in of_rounds for value in one[name]]
        result[name] = {"least": min(pooled, default=None),
                        "p50": turns.percentile(pooled, 0.5),
                        "p99": turns.percentile(pooled, 0.99),
                        "max": max(pooled, default=None)}
    for name in TURN_FIGURES:
        values = [one[name] for one in of_rounds if one[name] is not None]
        result[name] = statistics.median(values) if values else None
        spread[name] = [min(values), max(values)] if values else []
    result["killed"] = sum(one["killed"] for one in of_rounds)
    result["surges"] = sum(len(one["surge_s"]) for one in of_rounds)
    result["spread"] = spread
    return result


def assemble(of_turns, skipped):
    groups = {}
    for turn in of_turns:
        groups.setdefault(turn.controller, []).append(turn.figures())
    return {"rounds": len({turn.round for turn in of_turns}),
            "nominal_surge_s": memory_scenario.nominal_s(memory_scenario.RAMP),
            "controllers": {name: summarise(of_rounds)
                            for name, of_rounds in groups.items()},
            "skipped": skipped}


def judge(controllers):
    """What is claimed of Outrider against those it was compared with."""
    ours = controllers.get("outrider")
    if not ours:
        return []
    verdicts = [figures.verdict("guests' processes killed, at most",
                                ours["killed"], 0)]
    if "none" in controllers:
        none = controllers["none"]
        verdicts.append(figures.verdict(
            "p50 of a surge in s, below that without a controller",
            ours["surge_s"]["p50"], none["surge_s"]["p50"]))
        verdicts.append(figures.verdict(
            "batch's work, at least 0.95 of that without a controller",
            ours["batch_work_ratio"],
            figures.scaled(none["batch_work_ratio"], 0.95), at_most=False))
    if "reactive" in controllers:
        reactive = controllers["reactive"]
        verdicts.append(figures.verdict(
            "swapped out in MiB, 1/2 of reactive", ours["swapped_out_mib"],
            figures.scaled(reactive["swapped_out_mib"], 0.5)))
        verdicts.append(figures.verdict(
            "p99 of a MiB's step in ms, not above reactive",
            ours["step_ms"]["p99"], reactive["step_ms"]["p99"]))
    return verdicts


def table(controllers):
    number = figures.number
    rows = [("controller", "surges", "surge s", "MiB step ms", "again", "given",
             "free", "swapped", "alloc", "PSI s", "PSI s", "batch", "job s",
             "killed", "balloon"),
            ("", "", "p50/max", "p50/p99/max", "ms max", "MiB", "MiB",
             "out/in MiB", "stalls", "host", "ramp", "work", "max", "",
             "MiB")]
    for name in memory_scenario.ALL:
        if name not in controllers:
            continue
        one = controllers[name]
        step, surge = one["step_ms"], one["surge_s"]
        rows.append((
            name, str(one["surges"]),
            "%s/%s" % (number(surge["p50"], 1), number(surge["max"], 1)),
            "%s/%s/%s" % (number(step["p50"], 1), number(step["p99"]),
                          number(step["max"])),
            number(one["hold_ms_max"]["max"]),
            number(one["given_at_begin_mib"]["p50"]),
            number(one["available_at_begin_mib"]["p50"]),
            "%s/%s" % (number(one["swapped_out_mib"]),
                       number(one["swapped_in_mib"])),
            number(one["allocstall"]), number(one["host_some_s"], 1),
            number(one["ramp_some_s"], 1), number(one["batch_work_ratio"], 2),
            number(one["batch_job_s"]["max"], 1), str(one["killed"]),
            number(one["balloon_end_mib"])))
    return figures.aligned(rows)


def report(result):
    print("\n%s\n" % table(result["controllers"]))
    print("A surge that nothing holds up takes %.1f s; given, free: by the "
          "batch guest and\nfor a program to take, when a surge begins." %
          result["nominal_surge_s"])
    for name, why in result["skipped"].items():
        print("%s was left out: %s" % (name, why))
    for name, one in result["controllers"].items():
        if one["spread"]["gap_s"][1] > GAP_S_MAX:
            print("This machine was busy: under %s the hypervisor stood still "
                  "for %.0f s.\nIts figures are worth little; run it again "
                  "when the machine is idle." % (
                      name, one["spread"]["gap_s"][1]))
    for one in result["verdicts"]:
        print(figures.verdict_line(one))


def main():
    _, out, path = sys.argv[1:]
    of_turns, skipped = memory_turns.read_turns(out)
    if not of_turns:
        sys.exit("demo: no turn has left anything in " + out)
    result = assemble(of_turns, skipped)
    result["verdicts"] = judge(result["controllers"])
    with open(path, "w") as file:
        json.dump(result, file, indent=1)
        file.write("\n")
    report(result)
    print("The figures are in %s." % path)
    held = all(one["holds"] for one in result["verdicts"])
    sys.exit(0 if held else 1)


if __name__ == "__main__":
    main()
