# SPDX-License-Identifier: Apache-2.0
"""One turn of one controller: what was recorded of it, and its figures."""
import bisect
import csv
import glob
import json
import math
import os

import scenario

BURST_MCPU = scenario.BURST_MCPU
NO_CAP = -1
# A mark is stamped after the vCPU woke and before it sleeps: what it waited to
# begin, and the last record of its wait, lie this far outside.
AROUND_US = 20000


def percentile(values, share):
    """The least value that `share` of them do not exceed; None of none."""
    if not values:
        return None
    ordered = sorted(values)
    return ordered[max(math.ceil(share * len(ordered)) - 1, 0)]


class Record:
    """record.csv: columns by name, rows 10 ms apart."""

    def __init__(self, lines):
        rows = csv.reader(lines)
        names = next(rows)
        self.columns = dict(zip(names, zip(*[map(int, row) for row in rows])))
        self.times_us = self.columns["t_us"]

    def row_at(self, at_us):
        """The last row that is not after `at_us`."""
        return max(bisect.bisect_right(self.times_us, at_us) - 1, 0)

    def row_from(self, at_us):
        """The first row that is not before `at_us`."""
        return min(bisect.bisect_left(self.times_us, at_us),
                   len(self.times_us) - 1)

    def rise(self, column, begin_us, end_us):
        values = self.columns[column]
        return values[self.row_from(end_us)] - values[self.row_at(begin_us)]

    def integral(self, value_of_row, begin_us, end_us):
        """Of a value that holds from its row to the next, times seconds."""
        total = 0.0
        for row in range(self.row_at(begin_us), self.row_from(end_us)):
            begin = max(self.times_us[row], begin_us)
            end = min(self.times_us[row + 1], end_us)
            total += value_of_row(row) * max(end - begin, 0) / 1e6
        return total


class Burst:
    """Begin and end by the guest's marks; the end may be unseen."""

    def __init__(self, begin_us, end_us=None):
        self.begin_us = begin_us
        self.end_us = end_us


def parse_marks(lines):
    """The bursts, and the guest's time 0 (None if it was not told to go)."""
    bursts = []
    zero_us = None
    for line in lines:
        words = line.split()
        if len(words) < 2:
            continue
        at_us = int(words[0]) / 1000
        if words[1] == "LEAD":
            zero_us = at_us + 1e5 + int(words[2]) * 1e6
            bursts = []
        elif words[1] == "B":
            bursts.append(Burst(at_us))
        elif words[1] == "E" and bursts:
            bursts[-1].end_us = at_us
    return bursts, zero_us


class Turn:
    """What was recorded while one controller had the guests."""

    def __init__(self, about, record, marks):
        self.controller = about["controller"]
        self.margin = about["margin"]
        self.round = about["round"]
        self.record = record
        self.bursts = {}
        zeros = []
        for guest, lines in marks.items():
            self.bursts[guest], zero_us = parse_marks(lines)
            if zero_us is not None:
                zeros.append(zero_us)
        self.begin_us = max(zeros)
        self.end_us = self.begin_us + about["scored_s"] * 1e6

    def scored(self, guest):
        """(burst, the one before it or None) of those in the scored time."""
        bursts = self.bursts[guest]
        return [(burst, bursts[i - 1] if i else None)
                for i, burst in enumerate(bursts)
                if self.begin_us <= burst.begin_us < self.end_us]

    def end_of(self, burst):
        """One whose end was not seen lasted at least as long as we looked."""
        return burst.end_us or self.record.times_us[-1]

    def burst_ms(self, burst):
        return (self.end_of(burst) - burst.begin_us) / 1000

    def stall_ms(self, guest, burst):
        """The kernel's own: how long its vCPU was runnable and did not run.
        The kernel adds a wait when it ends; of a burst whose end was not seen
        it is what did not run."""
        begin_us = burst.begin_us - AROUND_US
        if burst.end_us is None:
            ran = self.record.rise(guest + ".run_us", begin_us,
                                   self.end_of(burst))
            return max(self.burst_ms(burst) - ran / 1000, 0)
        return self.record.rise(guest + ".wait_us", begin_us,
                                burst.end_us + AROUND_US) / 1000

    def stretch(self, guest, burst):
        """How much CPU time a burst took, against what its work took when the
        guest was calibrated: above 1 the processors themselves were slower."""
        ran_us = self.record.rise(guest + ".run_us", burst.begin_us,
                                  burst.end_us)
        about = [g for g in scenario.GUESTS if g["name"] == guest][0]
        return ran_us / scenario.work_us(about)

    def has_room(self, guest, row):
        cap = self.record.columns[guest + ".cap"][row]
        return cap == NO_CAP or cap >= BURST_MCPU

    def relief_ms(self, guest, burst):
        """From its begin until its cap is enough; at most until its end."""
        end_us = self.end_of(burst)
        record = self.record
        for row in range(record.row_at(burst.begin_us), len(record.times_us)):
            at_us = max(record.times_us[row], burst.begin_us)
            if at_us >= end_us:
                break
            if self.has_room(guest, row):
                return (at_us - burst.begin_us) / 1000
        return (end_us - burst.begin_us) / 1000

    def is_pre_raised(self, guest, burst, before):
        """Enough at its onset, and less than half of that for at least half of
        the time since the burst before."""
        record = self.record
        if not self.has_room(guest, record.row_at(burst.begin_us)):
            return False
        caps = record.columns[guest + ".cap"]
        trough = range(record.row_from(self.end_of(before)),
                       record.row_at(burst.begin_us))
        low = sum(caps[row] != NO_CAP and 2 * caps[row] < BURST_MCPU
                  for row in trough)
        return len(trough) > 0 and 2 * low >= len(trough)

    def held(self):
        """Core-seconds: caps (no cap: the ceiling) and reserves not lent."""
        columns = self.record.columns

        def held_mcpu(guest, row):
            cap = columns[guest + ".cap"][row]
            return ((scenario.CEILING if cap == NO_CAP else cap) +
                    columns[guest + ".reserve"][row])
        return sum(self.record.integral(
            lambda row, guest=guest: held_mcpu(guest, row) / 1000,
            self.begin_us, self.end_us) for guest in scenario.LATENCY)

    def rise_of(self, guests, column):
        return sum(self.record.rise("%s.%s" % (guest, column), self.begin_us,
                                    self.end_us) for guest in guests)

    def figures(self):
        """Of this turn alone; those of bursts are lists still."""
        marked = [(guest, burst) for guest in scenario.MARKED
                  for burst, _ in self.scored(guest)]
        periodic = [self.is_pre_raised("periodic", burst, before)
                    for burst, before in self.scored("periodic") if before]
        guests = [guest["name"] for guest in scenario.GUESTS]
        minutes = (self.end_us - self.begin_us) / 60e6
        return {
            "round": self.round,
            "burst_ms": [self.burst_ms(burst) for _, burst in marked],
            "stall_per_burst_ms": [self.stall_ms(*one) for one in marked],
            "relief_ms": [self.relief_ms(*one) for one in marked],
            "stretch": [self.stretch(*one) for one in marked
                        if one[1].end_us is not None],
            "pre_raised": periodic,
            "core_seconds_held": self.held(),
            "writes_per_vm_minute":
                self.rise_of(guests, "writes") / len(guests) / minutes,
            "batch_work": self.rise_of(["batch"], "run_us") / 1e6,
            "wait_s": self.rise_of(scenario.LATENCY, "wait_us") / 1e6,
            "throttled_s":
                self.rise_of(scenario.LATENCY, "throttled_us") / 1e6,
        }


def read_turn(folder):
    with open(os.path.join(folder, "turn.json")) as file:
        about = json.load(file)
    with open(os.path.join(folder, "record.csv")) as file:
        record = Record(file)
    marks = {}
    for guest in scenario.MARKED:
        with open(os.path.join(folder, "marks-" + guest)) as file:
            marks[guest] = file.readlines()
    return Turn(about, record, marks)


def read_turns(out):
    for folder in sorted(glob.glob(os.path.join(out, "round-*", "turn-??"))):
        yield read_turn(folder)
