#!/usr/bin/python3 -B
# SPDX-License-Identifier: Apache-2.0
"""Holds `bench_eval` against what is published and promised, on real traces:
the yardsticks come out as published, and the forecaster is as much better as
promised, on no set worse, and right as often as it says (acceptance 4.1); with
caps set by it less is left unserved (4.3); the long horizon's intervals and
choice are as good as they say (4.4)."""
import json
import math
import os
import subprocess
import sys

TRACES = "../shared/traces"
# Over-allocation in % at 5 % and at 1 % violations, as published with the
# traces, set by set in bench_eval's order.
PUBLISHED = {
    "window-max": {
        "0.05": [55, 112, 142, 219, 67, 119, 390, 117, 7.0, 72, 124, 139, 103,
                 130],
        "0.01": [213, 287, 641, 1042, 126, 221, 504, 219, 12.1, 211, 231, 225,
                 148, 201]},
    "autopilot-like": {
        "0.05": [159, 168, 313, 162, 62, 96, 328, 97, 12.3, 140, 144, 148, 108,
                 148],
        "0.01": [285, 336, 716, 914, 129, 205, 481, 207, 15.3, 233, 237, 224,
                 154, 190]},
}
OURS = "outrider"
RATIO_AT_MOST = {"0.05": 0.57, "0.01": 0.65}  # of the Autopilot-like histogram
WORSE_ON_A_SET = 1.1  # than the best of the others, but those that need a margin
NO_BASELINE = [OURS, "last-margin"]
MISSED_WITHIN = 0.2
TOO_SHORT = ["planetlab", "fp-1s"]  # under 300 ticks
UNSERVED_AT_MOST = {"last": 0.8}  # of theirs, where as much is held
PERCENTILES = ["window-max", "window-pct-60", "window-pct-256",
               "autopilot-like", "vpa-like"]
UNSERVED_OF_PERCENTILES = 0.6
AHEAD = ["12", "288"]
COVERED = 0.8
COVERED_WITHIN = 0.04
WORSE_AT_MOST = 1.05  # than the best single model
NO_SINGLE_MODEL = ["combined", "chosen"]

failed = []


def judge(holds, text):
    print(("ok: " if holds else "FAILS: ") + text, flush=True)
    if not holds:
        failed.append(text)


def bench_eval(*options):
    program = os.environ.get("OUTRIDER_BUILD", "build/release")
    done = subprocess.run([program + "/bin/bench_eval", "--traces", TRACES,
                           "--json", *options], check=True,
                          stdout=subprocess.PIPE)
    return json.loads(done.stdout)


def check_yardsticks(result):
    for method, at in PUBLISHED.items():
        for share, published in at.items():
            off = [abs(100 * seen / told - 1) for seen, told
                   in zip(result["methods"][method][share], published)]
            judge(max(off) <= 0.03, "%s at %s violations: at most %.1f %% from "
                  "what is published" % (method, share, 100 * max(off)))


def check_forecaster(result):
    ours = result["methods"][OURS]
    for share, at_most in RATIO_AT_MOST.items():
        judge(ours["ratio"][share] <= at_most,
              "%s violations: %.3f of the Autopilot-like histogram's "
              "over-allocation" % (share, ours["ratio"][share]))
        for i, name in enumerate(result["sets"]):
            best = min(row[share][i] for method, row in
                       result["methods"].items()
                       if method not in NO_BASELINE and row[share][i])
            judge(ours[share][i] <= WORSE_ON_A_SET * best,
                  "%s at %s: %.2f of the best other method's" %
                  (name, share, ours[share][i] / best))
            if name in TOO_SHORT:
                continue
            missed = ours["missed"][share][i] / float(share)
            judge(abs(missed - 1) <= MISSED_WITHIN,
                  "%s: missed %.2f times as often as asked at %s" %
                  (name, missed, share))


def check_closed_loop():
    methods = PERCENTILES + list(UNSERVED_AT_MOST)
    result = bench_eval("--closed-loop", "--methods", ",".join(methods))
    judged = set()
    for knob, rows in result.items():
        ours = rows.pop(OURS)["unserved"]
        # One that cannot hold as little leaves no figure there.
        others = {name: row["unserved"] for name, row in rows.items() if row}
        for name, unserved in others.items():
            at_most = UNSERVED_AT_MOST.get(name, UNSERVED_OF_PERCENTILES)
            judged.add(name)
            judge(ours <= at_most * unserved,
                  "caps at p%g: %.3g CPU s unserved, %s leaves %.3g" %
                  (100 * float(knob), ours, name, unserved))
    for name in methods:
        judge(name in judged or name == "window-pct-256",
              "%s holds as little as ours at some setting" % name)


def mean_ratio(result, ahead, model):
    """To seasonal naive; geometric, each set alike."""
    logs = [math.log(rows[ahead][model]["error"] /
                     rows[ahead]["seasonal-naive"]["error"])
            for rows in result.values()]
    return math.exp(sum(logs) / len(logs))


def check_long_horizon():
    result = bench_eval("--long")
    for ahead in AHEAD:
        models = list(next(iter(result.values()))[ahead])
        for name, rows in result.items():
            covered = rows[ahead]["chosen"]["covered"]
            judge(abs(covered - COVERED) <= COVERED_WITHIN,
                  "%s, %s ahead: intervals cover %.1f %%" %
                  (name, ahead, 100 * covered))
        ratios = {model: mean_ratio(result, ahead, model) for model in models}
        best = min((model for model in models if model not in NO_SINGLE_MODEL),
                   key=ratios.get)
        judge(ratios["chosen"] <= WORSE_AT_MOST * ratios[best],
              "%s ahead: the error of what is chosen is %.3f of seasonal "
              "naive's, %s's %.3f" % (ahead, ratios["chosen"], best,
                                      ratios[best]))


if not os.path.isdir(TRACES):
    print("no traces in " + TRACES)
    sys.exit(77)
one_step = bench_eval()
check_yardsticks(one_step)
check_forecaster(one_step)
check_closed_loop()
check_long_horizon()
sys.exit(1 if failed else 0)
