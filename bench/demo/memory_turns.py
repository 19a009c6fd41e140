# SPDX-License-Identifier: Apache-2.0
"""One turn of the memory demo: what was recorded of it, and its figures."""
import glob
import json
import os

import memory_scenario
import turns

AROUND_US = 500000  # two rows of the record


class Surge:
    """By the guest's marks. `steps_ms`: how long it took to touch each MiB,
    by its own clock; the end may be unseen."""

    def __init__(self, begin_us):
        self.begin_us = begin_us
        self.end_us = None
        self.steps_ms = []
        self.hold_ms_max = None  # what it held was touched again: the longest


class Marks:
    """What one guest said: [(t_us, word, figures)], its time 0, its surges."""

    def __init__(self, lines):
        self.said = []
        self.surges = []
        self.zero_us = None
        for line in lines:
            words = line.split()
            if len(words) >= 2:
                self._take(int(words[0]) / 1000, words[1], words[2:])

    def _take(self, at_us, word, rest):
        last = self.surges[-1] if self.surges else None
        if word == "LEAD":
            self.zero_us = at_us + 1e5 + int(rest[0]) * 1e6
        elif word == "B":
            self.surges.append(Surge(at_us))
        elif last and word == "E":
            last.end_us = at_us
        elif last and word == "STEPS":
            last.steps_ms += [int(figure) / 10 for figure in rest[1:]]
        elif last and word == "HOLD" and last.hold_ms_max is None:
            last.hold_ms_max = int(rest[1]) / 10
        else:
            self.said.append((at_us, word, rest))

    def between(self, word, begin_us, end_us):
        """What was said with that word, without the time."""
        return [rest for at_us, said, rest in self.said
                if said == word and begin_us <= at_us < end_us]

    def rise(self, name, begin_us, end_us):
        """Of one of the guest's own counters (the lines VM); 0 if it said too
        little to tell."""
        values = []
        for rest in self.between("VM", begin_us, end_us):
            pairs = dict(zip(rest[::2], map(int, rest[1::2])))
            if pairs.get(name, -1) >= 0:
                values.append(pairs[name])
        return values[-1] - values[0] if values else 0


class Turn:
    """What was recorded while one controller had the guests."""

    def __init__(self, about, record, marks):
        self.controller = about["controller"]
        self.round = about["round"]
        self.record = record
        self.marks = marks
        self.begin_us = marks["ramp"].zero_us
        self.end_us = self.begin_us + about["scored_s"] * 1e6
        self.surges = [surge for surge in marks["ramp"].surges
                       if self.begin_us <= surge.begin_us < self.end_us]

    def at(self, column, at_us):
        return self.record.columns[column][self.record.row_at(at_us)]

    def rise(self, column):
        return self.record.rise(column, self.begin_us, self.end_us)

    def surge_s(self, surge):
        """One whose end was not seen lasted at least as long as we looked."""
        end_us = surge.end_us or self.record.times_us[-1]
        return (end_us - surge.begin_us) / 1e6

    def given_mib(self, at_us):
        """What the batch guest's balloon has taken of it."""
        return (memory_scenario.BATCH["memory_mib"] -
                self.at("batch.balloon_kib", at_us) / 1024)

    def gap_s(self):
        """The longest time between two rows, which are to be 0.25 s apart: if
        it is long, the hypervisor itself stood still."""
        times = [at_us for at_us in self.record.times_us
                 if self.begin_us <= at_us < self.end_us]
        return max((after - before for before, after
                    in zip(times, times[1:])), default=0) / 1e6

    def killed(self):
        """By the guests' own OOM killers, as they count and as we see it."""
        span = (self.begin_us, self.end_us)
        return sum(max(len(marks.between("KILLED", *span)),
                       marks.rise("oom_kill", *span))
                   for marks in self.marks.values())

    def batch_figures(self):
        batch = self.marks["batch"]
        span = (self.begin_us, self.end_us)
        work = batch.between("WORK", *span)
        tenths = int(work[-1][0]) - int(work[0][0]) if len(work) > 1 else 0
        seconds = (self.end_us - self.begin_us) / 1e6
        return {
            # Ten each second, less those it was too late for.
            "batch_work_ratio": tenths / (10 * seconds),
            "batch_stall_ms_max": max([int(rest[1]) / 10 for rest in work],
                                      default=None),
            "batch_job_s": [int(rest[0]) / 1000
                            for rest in batch.between("JOB", *span)],
            "batch_majflt": self.rise("batch.majflt"),
        }

    def figures(self):
        """Of this turn alone; those of surges are lists still."""
        begins = [surge.begin_us for surge in self.surges]
        span = (self.begin_us, self.end_us)
        mib_per_page = 4096 / memory_scenario.MIB
        ramp = self.marks["ramp"]
        return {
            "round": self.round,
            "surge_s": [self.surge_s(surge) for surge in self.surges],
            "step_ms": [step for surge in self.surges
                        for step in surge.steps_ms],
            "hold_ms_max": [surge.hold_ms_max for surge in self.surges
                            if surge.hold_ms_max is not None],
            "available_at_begin_mib": [self.at("available_kib", at_us) / 1024
                                       for at_us in begins],
            "given_at_begin_mib": [self.given_mib(at_us) for at_us in begins],
            "swapped_out_mib": self.rise("pswpout") * mib_per_page,
            "swapped_in_mib": self.rise("pswpin") * mib_per_page,
            "pgscan_direct": self.rise("pgscan_direct"),
            "allocstall": self.rise("allocstall"),
            "host_some_s": self.rise("psi_some_us") / 1e6,
            "host_full_s": self.rise("psi_full_us") / 1e6,
            "ramp_some_s": self.rise("ramp.psi_some_us") / 1e6,
            "ramp_full_s": self.rise("ramp.psi_full_us") / 1e6,
            "ramp_majflt": self.rise("ramp.majflt"),
            "guest_pgmajfault": ramp.rise("pgmajfault", *span),
            "guest_allocstall": ramp.rise("allocstall", *span),
            "killed": self.killed(),
            "gap_s": self.gap_s(),
            "balloon_end_mib": self.at("batch.balloon_kib",
                                       self.end_us) / 1024,
            **self.batch_figures(),
        }


def read_turn(folder):
    """None of one that was skipped, and why."""
    with open(os.path.join(folder, "turn.json")) as file:
        about = json.load(file)
    if about.get("skipped"):
        return None, about
    with open(os.path.join(folder, "record.csv")) as file:
        record = turns.Record(file)
    marks = {}
    for guest in memory_scenario.GUESTS:
        with open(os.path.join(folder, "marks-" + guest)) as file:
            marks[guest] = Marks(file)
    return Turn(about, record, marks), about


def read_turns(out):
    """The turns that were taken, and what is said of those that were not."""
    taken, skipped = [], {}
    for folder in sorted(glob.glob(os.path.join(out, "round-*", "turn-??"))):
        turn, about = read_turn(folder)
        if turn:
            taken.append(turn)
        else:
            skipped[about["controller"]] = about["skipped"]
    return taken, skipped
