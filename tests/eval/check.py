#!/usr/bin/python3 -B
# SPDX-License-Identifier: Apache-2.0
"""Holds `bench_eval` against what is published and promised, on real traces:
the yardsticks come out as published (acceptance 4.1), and the long horizon's
intervals and choice are as good as they say (4.4)."""
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


def check_yardsticks():
    result = bench_eval("--methods", ",".join(PUBLISHED))
    for method, at in PUBLISHED.items():
        for share, published in at.items():
            off = [abs(100 * seen / told - 1) for seen, told
                   in zip(result["methods"][method][share], published)]
            judge(max(off) <= 0.03, "%s at %s violations: at most %.1f %% from "
                  "what is published" % (method, share, 100 * max(off)))


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
check_yardsticks()
check_long_horizon()
sys.exit(1 if failed else 0)
