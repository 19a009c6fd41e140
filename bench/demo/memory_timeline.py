#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""usage: memory_timeline.py OUT FILE

Draws FILE (SVG): for each controller the first turn's memory over time. Lines:
what a program on the host could take, what is in swap, what is resident of each
guest, and how much the batch guest's balloon leaves it. Surges are shaded, from
the first MiB to the last; darker is what they took beyond their pace.
"""
import sys

import memory_scenario
import memory_turns
import timeline

PANEL, GAP, TITLE, TOP, BOTTOM = 150, 14, 26, 84, 34
MIB_MAX = 1300  # the top of a panel
LEAD_S = 6  # drawn before time 0
INK = timeline.INK
# (column, colour, what it is); middle tones, legible on black and white.
LINES = [
    ("available_kib", "#2f81f7", "available on the host"),
    ("swap_kib", "#e5534b", "in swap"),
    ("ramp.resident_kib", "#d29922", "ramp resident"),
    ("batch.resident_kib", "#57ab5a", "batch resident"),
    ("batch.balloon_kib", "#986ee2", "batch's balloon leaves it"),
]


class Panel:
    """One turn's time and memory as places on the page."""

    def __init__(self, turn, top, shown_s):
        self.turn = turn
        self.top = top
        self.shown_s = shown_s

    def x(self, at_us):
        part = (at_us - self.turn.begin_us) / 1e6 + LEAD_S
        part = min(max(part / self.shown_s, 0), 1)
        return timeline.LEFT + part * (timeline.WIDTH - timeline.LEFT -
                                       timeline.RIGHT)

    def y(self, mib):
        return self.top + PANEL * (1 - min(max(mib, 0), MIB_MAX) / MIB_MAX)

    def band(self, begin_us, end_us, opacity):
        begin, end = self.x(begin_us), self.x(end_us)
        return ('<rect x="%.1f" y="%.1f" width="%.1f" height="%.1f" fill="%s" '
                'fill-opacity="%g"/>' % (begin, self.top, max(end - begin, 0),
                                         PANEL, timeline.RAN, opacity))

    def surges(self):
        nominal_us = memory_scenario.nominal_s(memory_scenario.RAMP) * 1e6
        shapes = []
        for surge in self.turn.surges:
            begin_us = surge.begin_us
            end_us = begin_us + self.turn.surge_s(surge) * 1e6
            meant_us = min(begin_us + nominal_us, end_us)
            shapes.append(self.band(begin_us, meant_us, 0.2))
            shapes.append(self.band(meant_us, end_us, 0.45))
        return shapes

    def lines(self):
        record = self.turn.record
        rows = range(record.row_from(self.turn.begin_us - LEAD_S * 1e6),
                     len(record.times_us))
        return [timeline.line([(self.x(record.times_us[row]),
                                self.y(record.columns[column][row] / 1024))
                               for row in rows], colour)
                for column, colour, _ in LINES]

    def frame(self):
        shapes = []
        for mib in range(0, MIB_MAX, 500):
            shapes.append(timeline.text(timeline.LEFT - 8, self.y(mib) + 4,
                                        "%d MiB" % mib, "end"))
            shapes.append(
                '<line x1="%d" x2="%d" y1="%.1f" y2="%.1f" stroke="%s" '
                'stroke-width="0.5" stroke-dasharray="2 3"/>' % (
                    timeline.LEFT, timeline.WIDTH - timeline.RIGHT,
                    self.y(mib), self.y(mib), INK))
        return shapes

    def draw(self):
        return self.surges() + self.frame() + self.lines()


def legend():
    half = 3
    entries = [(colour, 1, words) for _, colour, words in LINES]
    shapes = timeline.key("Memory under each controller, over time",
                          entries[:half])
    second = timeline.key("", entries[half:] + [
        (timeline.RAN, 0.2, "a surge"),
        (timeline.RAN, 0.45, "that it took longer than its pace")])
    return shapes + ['<g transform="translate(0,18)">%s</g>' % "".join(second)]


def draw(of_turns):
    """The whole page; one panel a controller."""
    shown_s = max((turn.end_us - turn.begin_us) / 1e6
                  for turn in of_turns) + LEAD_S
    shapes = legend()
    top = TOP
    for turn in of_turns:
        shapes.append(timeline.text(timeline.LEFT, top + TITLE - 10,
                                    turn.controller, weight="bold"))
        shapes += Panel(turn, top + TITLE, shown_s).draw()
        top += TITLE + PANEL + GAP
    shapes += timeline.scale_of(int(shown_s), 20, top + 14)
    return timeline.page(shapes, top + BOTTOM)


def pick(of_turns):
    """The first turn of each controller."""
    first = {}
    for turn in of_turns:
        first.setdefault(turn.controller, turn)
    return sorted(first.values(),
                  key=lambda t: memory_scenario.ALL.index(t.controller))


def main():
    out, path = sys.argv[1:]
    of_turns, _ = memory_turns.read_turns(out)
    with open(path, "w") as file:
        file.write(draw(pick(of_turns)))
    print("What happened over time is drawn in %s." % path)


if __name__ == "__main__":
    main()
