#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""usage: figures.py short|plain|long OUT

From what the turns of the demo left in OUT: result.json, a table, and whether
what is claimed holds. docs/demo.md says how each figure is taken.
"""
import json
import os
import statistics
import sys

import scenario
import turns

BURST_FIGURES = ["burst_ms", "stall_per_burst_ms", "relief_ms"]
# Bursts that take so much longer in CPU time than when they were calibrated
# say that somebody else was using the machine.
STRETCH_MAX = 1.3
ROUND_FIGURES = ["core_seconds_held", "writes_per_vm_minute", "batch_work",
                 "wait_s", "throttled_s"]


def median_and_spread(values):
    return statistics.median(values), [min(values), max(values)]


def summarise(of_rounds, oracle_held):
    """One controller at one margin: bursts of all rounds together, the rest as
    the median of the rounds; under `spread` the least and the most a round
    had."""
    result = {}
    spread = {}
    for name in BURST_FIGURES:
        pooled = [value for one in of_rounds for value in one[name]]
        result[name] = {"p50": turns.percentile(pooled, 0.5),
                        "p99": turns.percentile(pooled, 0.99)}
        of_each = [turns.percentile(one[name], 0.99) for one in of_rounds
                   if one[name]]
        spread[name] = {"p99": [min(of_each), max(of_each)] if of_each else []}
    for name in ROUND_FIGURES:
        result[name], spread[name] = median_and_spread(
            [one[name] for one in of_rounds])
    ratios = [one["core_seconds_held"] / oracle_held[one["round"]]
              for one in of_rounds if oracle_held.get(one["round"])]
    result["held_vs_oracle"] = statistics.median(ratios) if ratios else None
    onsets = [raised for one in of_rounds for raised in one["pre_raised"]]
    result["pre_raised_ratio"] = sum(onsets) / len(onsets) if onsets else None
    result["bursts"] = sum(len(one["burst_ms"]) for one in of_rounds)
    result["spread"] = spread
    return result


def choose(curve, held):
    """The point with the least stall whose held is not above `held`; where all
    hold more, the one that holds least."""
    fair = [point for point in curve
            if held is None or point["core_seconds_held"] <= held]
    if fair:
        return min(fair, key=lambda p: p["stall_per_burst_ms"]["p99"])
    return min(curve, key=lambda p: p["core_seconds_held"])


def gather(of_turns):
    """Figures of each (controller, margin), of every round it was in."""
    groups = {}
    for turn in of_turns:
        groups.setdefault((turn.controller, turn.margin), []).append(
            turn.figures())
    return groups


def assemble(groups):
    oracle_held = {one["round"]: one["core_seconds_held"]
                   for one in groups.get(("oracle", 0), [])}
    curves = {}
    for (controller, margin), of_rounds in sorted(groups.items()):
        point = summarise(of_rounds, oracle_held)
        point["margin"] = margin
        curves.setdefault(controller, []).append(point)
    held = None
    if "outrider" in curves:
        held = curves["outrider"][0]["core_seconds_held"]
    chosen = {name: choose(curve, held) for name, curve in curves.items()}
    for point in chosen.values():
        point["held_not_above_outrider"] = (
            held is None or point["core_seconds_held"] <= held)
    rounds = {one["round"] for of_rounds in groups.values()
              for one in of_rounds}
    stretches = [value for of_rounds in groups.values() for one in of_rounds
                 for value in one["stretch"]]
    return {"rounds": len(rounds), "controllers": chosen, "curves": curves,
            "stretch": statistics.median(stretches) if stretches else None}


def verdict(claim, value, limit, at_most=True):
    """A figure that is missing holds nothing."""
    holds = None not in (value, limit) and (
        value <= limit if at_most else value >= limit)
    return {"claim": claim, "value": value, "limit": limit, "holds": holds}


def scaled(value, factor):
    return None if value is None else value * factor


def judge(controllers, scale):
    """What is claimed of Outrider against those it was compared with."""
    ours = controllers.get("outrider")
    if not ours:
        return []
    stall = ours["stall_per_burst_ms"]["p99"]

    def stall_of(name):
        return controllers[name]["stall_per_burst_ms"]["p99"]
    if scale == "short" and "reactive_1s" in controllers:
        return [verdict("p99 stall, below reactive_1s", stall,
                        stall_of("reactive_1s"))]
    verdicts = []
    for name, part, words in [("reactive_1s", 0.2, "1/5 of"),
                              ("reactive_100ms", 0.5, "1/2 of"),
                              ("window_p95", 1, "not above")]:
        if name in controllers:
            verdicts.append(verdict("p99 stall in ms, %s %s" % (words, name),
                                    stall, scaled(stall_of(name), part)))
    verdicts.append(verdict("periodic bursts pre-raised, at least",
                            ours["pre_raised_ratio"], 0.9, at_most=False))
    reactive = [controllers[name]["batch_work"]
                for name in scenario.REACTIVE if name in controllers]
    if reactive:
        verdicts.append(verdict(
            "batch work in CPU s, at least 0.95 of the best reactive",
            ours["batch_work"], 0.95 * max(reactive), at_most=False))
    if "oracle" in controllers:
        verdicts.append(verdict("held against the oracle's, at most",
                                ours["held_vs_oracle"], 1.5))
    return verdicts


def verdict_line(one):
    return "%-15s %s: %s against %s" % (
        "holds" if one["holds"] else "does not hold", one["claim"],
        number(one["value"], 2), number(one["limit"], 2))


def number(value, digits=0):
    return "-" if value is None else "%.*f" % (digits, value)


def table(controllers):
    heading = ("controller", "margin", "bursts", "burst ms", "stall ms",
               "relief ms", "held", "of", "writes", "pre-", "batch")
    units = ("", "", "", "p50/p99", "p50/p99", "p50/p99", "CPU s", "oracle",
             "/VM min", "raised", "CPU s")
    rows = [heading, units]
    order = scenario.SCALES["long"]["controllers"]
    for name in sorted(controllers, key=order.index):
        point = controllers[name]
        pairs = ["%s/%s" % (number(point[figure]["p50"]),
                            number(point[figure]["p99"]))
                 for figure in BURST_FIGURES]
        rows.append((
            name, number(point["margin"], 2) if point["margin"] else "-",
            str(point["bursts"]), *pairs, number(point["core_seconds_held"], 1),
            number(point["held_vs_oracle"], 2),
            number(point["writes_per_vm_minute"]),
            number(point["pre_raised_ratio"], 2),
            number(point["batch_work"], 1)))
    return aligned(rows)


def aligned(rows):
    """Columns of text; the first to the left, the others to the right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join(
        "  ".join([row[0].ljust(widths[0])] +
                  [cell.rjust(width) for cell, width
                   in zip(row[1:], widths[1:])]).rstrip() for row in rows)


def spread_line(controllers):
    """How far apart the rounds were, for those that matter most."""
    parts = []
    for name in ["reactive_1s", "reactive_100ms", "window_p95", "outrider"]:
        if name in controllers:
            least, most = controllers[name]["spread"]["stall_per_burst_ms"][
                "p99"]
            parts.append("%s %.0f..%.0f" % (name, least, most))
    return "p99 stall in ms, least and most of a round: " + ", ".join(parts)


def report(result):
    controllers = result["controllers"]
    print("\n%s\n" % table(controllers))
    print(spread_line(controllers))
    for name in scenario.REACTIVE:
        if name in controllers and not controllers[name][
                "held_not_above_outrider"]:
            print("%s holds more than Outrider at every margin that was tried"
                  % name)
    if (result["stretch"] or 0) > STRETCH_MAX:
        print("This machine was busy: the same work took %.1f times its CPU "
              "time.\nWhat is in milliseconds is worth little; run it again "
              "when it is idle." % result["stretch"])
    for one in result["verdicts"]:
        print(verdict_line(one))


def main():
    scale, out = sys.argv[1:]
    groups = gather(turns.read_turns(out))
    if not groups:
        sys.exit("demo: no turn has left anything in " + out)
    result = assemble(groups)
    result["verdicts"] = judge(result["controllers"], scale)
    path = os.path.join(out, "result.json")
    with open(path, "w") as file:
        json.dump(result, file, indent=1)
        file.write("\n")
    report(result)
    print("The figures are in %s." % path)
    held = all(one["holds"] for one in result["verdicts"])
    sys.exit(0 if held else 1)


if __name__ == "__main__":
    main()
