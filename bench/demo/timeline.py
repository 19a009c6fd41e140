#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""usage: timeline.py OUT

Draws OUT/timeline.svg: for each controller the first 20 s that were scored, of
the periodic guest and the one with jitter. Grey is what ran, red what a burst
wanted beyond that, the line is the cap.
"""
import json
import os
import sys

import scenario
import turns

SHOWN_S = 20
BIN_US = 50000
WIDTH, LEFT, RIGHT = 1000, 120, 20
STRIP, GAP, TITLE, TOP, BOTTOM = 56, 10, 26, 70, 30
MCPU_MAX = 1400  # the top of a strip
# In the middle between black and white: legible on either.
INK, RAN, STALL, CAP = "#7d8590", "#8b949e", "#e5534b", "#2f81f7"


class Strip:
    """One guest's time and CPU as places on the page."""

    def __init__(self, turn, guest, top):
        self.turn = turn
        self.guest = guest
        self.top = top
        self.end_us = min(turn.begin_us + SHOWN_S * 1e6, turn.end_us)

    def x(self, at_us):
        part = (at_us - self.turn.begin_us) / (SHOWN_S * 1e6)
        return LEFT + part * (WIDTH - LEFT - RIGHT)

    def y(self, mcpu):
        return self.top + STRIP * (1 - min(mcpu, MCPU_MAX) / MCPU_MAX)

    def box(self, begin_us, end_us, low, high, colour, opacity):
        return ('<rect x="%.1f" y="%.1f" width="%.1f" height="%.1f" '
                'fill="%s" fill-opacity="%g"/>' % (
                    self.x(begin_us), self.y(high),
                    self.x(end_us) - self.x(begin_us),
                    self.y(low) - self.y(high), colour, opacity))

    def ran(self, begin_us, end_us):
        rise_us = self.turn.record.rise(self.guest + ".run_us", begin_us,
                                        end_us)
        return min(rise_us / (end_us - begin_us) * 1000, 1000)

    def loads(self):
        """Grey: each bin's usage; red: the rest of what a burst wanted."""
        bursts = [(burst.begin_us, self.turn.end_of(burst))
                  for burst, _ in self.turn.scored(self.guest)]
        shapes = []
        at_us = self.turn.begin_us
        while at_us < self.end_us:
            end_us = at_us + BIN_US
            ran = self.ran(at_us, end_us)
            shapes.append(self.box(at_us, end_us, 0, ran, RAN, 0.6))
            for begin, end in bursts:
                inside = (max(at_us, begin), min(end_us, end))
                if (inside[1] > inside[0] and end_us < end and
                        ran < scenario.BURST_MCPU):
                    shapes.append(self.box(*inside, ran, scenario.BURST_MCPU,
                                           STALL, 0.75))
            at_us = end_us
        return shapes

    def cap(self):
        """A line with steps; no cap is drawn at the top."""
        record = self.turn.record
        points = []
        for row in range(record.row_at(self.turn.begin_us),
                         record.row_at(self.end_us) + 1):
            cap = record.columns[self.guest + ".cap"][row]
            height = self.y(MCPU_MAX if cap == turns.NO_CAP else cap)
            if points and points[-1][1] == height:
                continue
            at_x = self.x(max(record.times_us[row], self.turn.begin_us))
            if points:
                points.append((at_x, points[-1][1]))
            points.append((at_x, height))
        points.append((self.x(self.end_us), points[-1][1]))
        return [line(points, CAP)]

    def frame(self):
        shapes = [text(LEFT - 8, self.top + STRIP / 2 + 4, self.guest, "end")]
        for mcpu in (0, scenario.BURST_MCPU):
            shapes.append(
                '<line x1="%d" x2="%d" y1="%.1f" y2="%.1f" stroke="%s" '
                'stroke-width="0.5" stroke-dasharray="%s"/>' % (
                    LEFT, WIDTH - RIGHT, self.y(mcpu), self.y(mcpu), INK,
                    "2 3" if mcpu else "none"))
        return shapes

    def draw(self):
        return self.loads() + self.frame() + self.cap()


def text(x, y, words, anchor="start", weight="normal"):
    return ('<text x="%.1f" y="%.1f" fill="%s" text-anchor="%s" '
            'font-weight="%s">%s</text>' % (x, y, INK, anchor, weight, words))


def legend():
    return key("What each controller gave two guests, over time", [
        (RAN, 0.6, "CPU that ran"),
        (STALL, 0.75, "CPU that a burst wanted and did not get"),
        (CAP, 1, "cap (at the top: none); dashed: what a burst wants")])


def key(title, entries):
    """The title, and below it what each (colour, opacity) stands for."""
    shapes = [text(LEFT, 22, title, weight="bold")]
    x = LEFT
    for colour, opacity, words in entries:
        shapes.append('<rect x="%d" y="36" width="12" height="12" fill="%s" '
                      'fill-opacity="%g"/>' % (x, colour, opacity))
        shapes.append(text(x + 18, 46, words))
        x += 40 + 7 * len(words)
    return shapes


def scale(y):
    return scale_of(SHOWN_S, 5, y)


def scale_of(shown_s, each_s, y):
    step = (WIDTH - LEFT - RIGHT) / shown_s
    return [text(LEFT + second * step, y, "%d s" % second, "middle")
            for second in range(0, shown_s + 1, each_s)]


def title_of(turn):
    if not turn.margin:
        return turn.controller
    return "%s (margin %g)" % (turn.controller, turn.margin)


def draw(of_turns):
    """The whole page; one panel a turn."""
    shapes = legend()
    top = TOP
    for turn in of_turns:
        shapes.append(text(LEFT, top + TITLE - 10, title_of(turn),
                           weight="bold"))
        top += TITLE
        for guest in scenario.MARKED:
            shapes += Strip(turn, guest, top).draw()
            top += STRIP + GAP
    shapes += scale(top + 14)
    return page(shapes, top + BOTTOM)


def page(shapes, height):
    return ('<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" '
            'font-family="sans-serif" font-size="12">\n%s\n</svg>\n' % (
                WIDTH, height, "\n".join(shapes)))


def line(points, colour):
    """Through (x, y)."""
    return ('<polyline fill="none" stroke="%s" stroke-width="1.5" '
            'points="%s"/>' % (colour, " ".join("%.1f,%.1f" % point
                                                for point in points)))


def pick(of_turns, controllers):
    """The first turn of each controller at the margin that is compared."""
    first = {}
    for turn in of_turns:
        point = controllers.get(turn.controller)
        if point and turn.margin == point["margin"]:
            first.setdefault(turn.controller, turn)
    order = scenario.SCALES["long"]["controllers"]
    return sorted(first.values(), key=lambda t: order.index(t.controller))


def main():
    out = sys.argv[1]
    with open(os.path.join(out, "result.json")) as file:
        controllers = json.load(file)["controllers"]
    path = os.path.join(out, "timeline.svg")
    with open(path, "w") as file:
        file.write(draw(pick(turns.read_turns(out), controllers)))
    print("What happened over time is drawn in %s." % path)


if __name__ == "__main__":
    main()
