#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The memory demo's figures and baselines, from records and answers that are
known."""
import json
import os
import socket
import sys
import tempfile
import threading
import unittest
import xml.etree.ElementTree

sys.dont_write_bytecode = True
os.chdir(os.path.join(os.path.dirname(os.path.abspath(__file__)), "../.."))

import memory_control
import memory_figures
import memory_host
import memory_scenario
import memory_timeline
import memory_turns
import qmp
import turns

MIB = memory_scenario.MIB
HOST = ["free_kib", "available_kib", "swap_kib", "pswpin", "pswpout",
        "pgscan_direct", "pgscan_kswapd", "pgmajfault", "allocstall",
        "psi_some_us", "psi_full_us"]
GUEST = ["resident_kib", "swap_kib", "psi_some_us", "psi_full_us", "majflt",
         "balloon_kib"]


def record_of(seconds, **changes):
    """Rows of 250 ms; columns are 0 (batch's balloon: all of it) unless a
    change, its dot an underline, says what they are at a time in seconds."""
    names = HOST + ["%s.%s" % (guest, name)
                    for guest in memory_scenario.GUESTS for name in GUEST]
    plain = {"batch.balloon_kib": 1024 * 1024}
    lines = ["t_us," + ",".join(names)]
    for row in range(seconds * 4 + 1):
        at = row / 4
        values = [round(at * 1e6)]
        for name in names:
            change = changes.get(name.replace(".", "_"))
            values.append(round(change(at)) if change
                          else plain.get(name, 0))
        lines.append(",".join(map(str, values)))
    return turns.Record(lines)


GO = "900000000 LEAD 0"  # time 0 is 1.0 s


def marks_of(*lines):
    return memory_turns.Marks([GO, *lines])


def surge_lines(begin_s, end_s, steps_tenths=(), hold_tenths=50):
    lines = ["%d B 0 0" % (begin_s * 1e9)]
    if end_s:
        lines.append("%d E 0 0" % (end_s * 1e9))
        lines.append("%d STEPS 0 %s" % (end_s * 1e9 + 1,
                                        " ".join(map(str, steps_tenths))))
        lines.append("%d HOLD 9 %d 99" % (end_s * 1e9 + 2, hold_tenths))
    return lines


def turn_of(record, ramp=(), batch=(), scored_s=60, controller="outrider",
            number=1):
    return memory_turns.Turn(
        {"controller": controller, "round": number, "scored_s": scored_s},
        record, {"ramp": marks_of(*ramp), "batch": marks_of(*batch)})


class Surges(unittest.TestCase):
    def test_last_from_the_first_mark_to_the_last_by_the_host_clock(self):
        turn = turn_of(record_of(70), surge_lines(5, 24.2, [80, 90]))
        self.assertEqual(turn.figures()["surge_s"], [19.2])
        self.assertEqual(turn.figures()["step_ms"], [8, 9])
        self.assertEqual(turn.figures()["hold_ms_max"], [5])

    def test_those_of_the_lead_are_not_scored(self):
        turn = turn_of(record_of(70), surge_lines(0.95, 0.99, [1]) +
                       surge_lines(5, 25, [80]))
        self.assertEqual(turn.figures()["step_ms"], [8])

    def test_one_whose_end_was_not_seen_lasted_as_long_as_we_looked(self):
        turn = turn_of(record_of(70), surge_lines(10, None))
        self.assertEqual(turn.figures()["surge_s"], [60])
        self.assertEqual(turn.figures()["step_ms"], [])

    def test_what_was_free_and_given_is_read_when_it_begins(self):
        record = record_of(
            70, available_kib=lambda at: (700 if at <= 10 else 5) * 1024,
            batch_balloon_kib=lambda at: (624 if at <= 10 else 500) * 1024)
        figures = turn_of(record, surge_lines(10.1, 30)).figures()
        self.assertEqual(figures["available_at_begin_mib"], [700])
        self.assertEqual(figures["given_at_begin_mib"], [400])
        self.assertEqual(figures["balloon_end_mib"], 500)


class Counters(unittest.TestCase):
    def test_are_the_rise_within_the_scored_time(self):
        # 256 pages of 4 KiB are a MiB; 1 s to 11 s are scored.
        record = record_of(20, pswpout=lambda at: 256 * at,
                           ramp_psi_some_us=lambda at: 5e5 * at)
        figures = turn_of(record, scored_s=10).figures()
        self.assertEqual(figures["swapped_out_mib"], 10)
        self.assertEqual(figures["ramp_some_s"], 5)
        self.assertEqual(figures["allocstall"], 0)

    def test_of_the_guest_are_the_last_less_the_first(self):
        turn = turn_of(record_of(70), ["2000000000 VM pgmajfault 3 oom_kill 0",
                                       "9000000000 VM pgmajfault 7 oom_kill 0"])
        self.assertEqual(turn.figures()["guest_pgmajfault"], 4)

    def test_one_that_the_guest_does_not_know_rises_by_nothing(self):
        turn = turn_of(record_of(70), ["2000000000 VM pgmajfault -1",
                                       "9000000000 VM pgmajfault -1"])
        self.assertEqual(turn.figures()["guest_pgmajfault"], 0)

    def test_a_kill_is_counted_once_though_two_tell_of_it(self):
        batch = ["2000000000 VM oom_kill 0", "3000000000 KILLED 9",
                 "9000000000 VM oom_kill 1"]
        self.assertEqual(turn_of(record_of(70), (), batch).killed(), 1)
        self.assertEqual(turn_of(record_of(70), (), batch[:2]).killed(), 1)
        self.assertEqual(turn_of(record_of(70), (), batch[:1]).killed(), 0)


class Gap(unittest.TestCase):
    def test_is_the_longest_time_without_a_row(self):
        self.assertEqual(turn_of(record_of(70)).figures()["gap_s"], 0.25)
        lines = ["t_us," + ",".join(["batch.balloon_kib"])]
        lines += ["%d,0" % (at * 1e6) for at in (0, 1, 2, 9, 10, 40)]
        turn = turn_of(turns.Record(lines), scored_s=20)
        self.assertEqual(turn.gap_s(), 7)  # 10 to 40 is not within


class BatchWork(unittest.TestCase):
    def test_is_the_part_of_ten_tenths_a_second_that_was_done(self):
        lines = ["1500000000 WORK 5 10", "10500000000 WORK 55 400",
                 "10800000000 JOB 13500"]
        figures = turn_of(record_of(20), (), lines, scored_s=10).figures()
        self.assertEqual(figures["batch_work_ratio"], 0.5)
        self.assertEqual(figures["batch_stall_ms_max"], 40)
        self.assertEqual(figures["batch_job_s"], [13.5])

    def test_of_a_guest_that_says_nothing_is_none(self):
        figures = turn_of(record_of(20), scored_s=10).figures()
        self.assertEqual(figures["batch_work_ratio"], 0)
        self.assertIsNone(figures["batch_stall_ms_max"])


def assembled(**swapped_mib):
    """Controllers that swapped so much, with a surge of 20 s each."""
    of_turns = []
    for name, mib in swapped_mib.items():
        record = record_of(70, pswpout=lambda at, mib=mib:
                           256 * mib if at > 30 else 0)
        of_turns.append(turn_of(record, surge_lines(5, 25, [80, 120]),
                                ["1500000000 WORK 0 1",
                                 "60500000000 WORK 590 1"],
                                controller=name))
    return memory_figures.assemble(of_turns, {})


class Verdicts(unittest.TestCase):
    def claims(self, result):
        return {one["claim"].split(",")[0]: one["holds"]
                for one in memory_figures.judge(result["controllers"])}

    def test_half_of_what_reactive_swaps_is_the_limit(self):
        self.assertTrue(self.claims(assembled(reactive=100, outrider=50))[
            "swapped out in MiB"])
        self.assertFalse(self.claims(assembled(reactive=100, outrider=51))[
            "swapped out in MiB"])

    def test_nothing_is_claimed_of_others(self):
        self.assertEqual(self.claims(assembled(none=1, oracle=0)), {})

    def test_a_kill_is_never_right(self):
        result = assembled(none=100, outrider=0)
        result["controllers"]["outrider"]["killed"] = 1
        self.assertFalse(self.claims(result)["guests' processes killed"])


class Output(unittest.TestCase):
    def test_the_table_has_a_row_for_each_controller_in_order(self):
        text = memory_figures.table(
            assembled(oracle=0, none=700)["controllers"])
        names = [line.split()[0] for line in text.splitlines()[2:]]
        self.assertEqual(names, ["none", "oracle"])
        self.assertIn("8.0/12/12", text)

    def test_a_turn_without_a_surge_is_told_with_dashes(self):
        result = memory_figures.assemble([turn_of(record_of(70))], {})
        self.assertIn("-/-", memory_figures.table(result["controllers"]))

    def test_the_timeline_is_xml_with_a_line_for_each_figure(self):
        page = memory_timeline.draw([turn_of(record_of(70),
                                             surge_lines(5, 40))])
        root = xml.etree.ElementTree.fromstring(page)
        lines = root.iter("{http://www.w3.org/2000/svg}polyline")
        self.assertEqual(len(list(lines)), len(memory_timeline.LINES))


class Turns(unittest.TestCase):
    def test_one_that_was_skipped_is_told_with_its_reason(self):
        with tempfile.TemporaryDirectory() as out:
            folder = out + "/round-1/turn-01"
            os.makedirs(folder)
            with open(folder + "/turn.json", "w") as file:
                json.dump({"controller": "outrider", "skipped": "no key"}, file)
            self.assertEqual(memory_turns.read_turns(out),
                             ([], {"outrider": "no key"}))


class Plan(unittest.TestCase):
    def test_surges_keep_clear_of_the_job_and_of_each_other(self):
        ramp, batch = memory_scenario.RAMP, memory_scenario.BATCH
        job_s = batch["job_mib"] / 24
        for seed in range(7000, 7100):
            times = memory_scenario.surge_times_s(ramp, seed, 3)
            for index, begin in enumerate(times):
                end = begin + memory_scenario.nominal_s(ramp) + ramp["hold_s"]
                period = index * ramp["period_s"]
                self.assertLess(end, period + batch["offset_s"], seed)
            self.assertLess(batch["offset_s"] + job_s, ramp["period_s"])

    def test_the_oracle_is_ahead_and_gives_back(self):
        plan = memory_scenario.oracle_plan(7001, 2)
        begins = memory_scenario.surge_times_s(memory_scenario.RAMP, 7001, 2)
        self.assertLess(plan[2][0], begins[1])
        self.assertEqual([target for _, target in plan],
                         [1024 - memory_scenario.ORACLE_TAKE_MIB, 1024] * 2)
        self.assertEqual([at for at, _ in plan], sorted(at for at, _ in plan))

    def test_each_round_has_all_controllers(self):
        for number in range(1, 5):
            plan = memory_scenario.plan_of(memory_scenario.SCALES["plain"],
                                           memory_scenario.ALL, number)
            self.assertEqual(sorted(turn["controller"]
                                    for turn in plan["turns"]),
                             sorted(memory_scenario.ALL))

    def test_a_workload_says_what_the_scenario_does(self):
        self.assertEqual(memory_scenario.workloads()["ramp"],
                         "surge:256,1024,40,8,90,0.15")


class Reactive(unittest.TestCase):
    def target_mib(self, available_mib, balloon_mib):
        return memory_control.reactive_target(
            1800 * MIB, available_mib * MIB, balloon_mib * MIB) / MIB

    def test_leaves_small_differences_alone(self):
        # 20 % of 1800 MiB are 360.
        self.assertEqual(self.target_mib(355, 800), 800)
        self.assertEqual(self.target_mib(369, 800), 800)

    def test_moves_by_what_is_missing_and_at_most_100_mib(self):
        self.assertEqual(self.target_mib(330, 800), 770)
        self.assertEqual(self.target_mib(10, 800), 700)
        self.assertEqual(self.target_mib(900, 800), 900)

    def test_stays_between_the_floor_and_all_of_it(self):
        self.assertEqual(self.target_mib(900, 1000), 1024)
        self.assertEqual(self.target_mib(10, 400),
                         memory_scenario.BATCH_FLOOR_MIB)


class Oracle(unittest.TestCase):
    def test_waits_for_the_guests_time_0(self):
        self.assertIsNone(memory_control.zero_s_of("5000000000 HELD\n"))
        self.assertEqual(memory_control.zero_s_of(
            "5000000000 HELD\n6000000000 LEAD 24\n"), 30.1)


class Host(unittest.TestCase):
    def test_pairs_are_read_with_and_without_colon_and_unit(self):
        self.assertEqual(memory_host.parse_pairs("MemFree:  12 kB\npswpin 3\n"),
                         {"MemFree": 12, "pswpin": 3})

    def test_pressure_is_its_total(self):
        self.assertEqual(memory_host.parse_pressure(
            "some avg10=0.02 avg60=3.12 avg300=3.44 total=16194717\n"
            "full avg10=0.00 avg60=2.64 avg300=3.03 total=14447113\n"),
            {"some": 16194717, "full": 14447113})


class Qmp(unittest.TestCase):
    """Against a peer that says what it is told to, and notes what it heard."""

    def peer(self, *answers, greeting='{"QMP": {}}'):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        path = folder.name + "/qmp"
        server = socket.socket(socket.AF_UNIX)
        self.addCleanup(server.close)
        server.bind(path)
        server.listen()
        self.heard = []

        def serve():
            client, _ = server.accept()
            client.sendall(greeting.encode() + b"\n")
            lines = client.makefile("r")
            for answer in ('{"return": {}, "id": 1}', *answers):
                line = lines.readline()
                if not line:
                    break
                self.heard.append(json.loads(line))
                client.sendall(answer.encode() + b"\n")
            lines.close()
            client.close()
        thread = threading.Thread(target=serve)
        thread.start()
        self.addCleanup(thread.join)
        return path

    def test_an_answer_is_found_behind_events_and_others_answers(self):
        monitor = qmp.Monitor(self.peer(
            '{"event": "BALLOON_CHANGE", "data": {"actual": 5}}\n'
            '{"return": 1, "id": "somebody"}\n'
            '{"return": {"actual": 7}, "id": 2}'))
        self.assertEqual(qmp.balloon_bytes(monitor), 7)
        self.assertEqual(monitor.take_events()[0]["data"], {"actual": 5})
        self.assertEqual(monitor.take_events(), [])
        monitor.close()
        self.assertEqual(self.heard[1]["execute"], "query-balloon")

    def test_a_target_is_asked_for_in_bytes(self):
        monitor = qmp.Monitor(self.peer('{"return": {}, "id": 2}'))
        qmp.set_balloon(monitor, 64 * MIB)
        monitor.close()
        self.assertEqual(self.heard[1]["arguments"], {"value": 64 * MIB})

    def test_an_error_is_told_in_qemus_words(self):
        monitor = qmp.Monitor(self.peer(
            '{"error": {"class": "KVMMissingCap", "desc": "no"}, "id": 2}'))
        with self.assertRaisesRegex(qmp.Refused, "KVMMissingCap: no"):
            monitor.ask("balloon", value=1)
        monitor.close()

    def test_a_peer_that_goes_or_speaks_something_else_is_lost(self):
        monitor = qmp.Monitor(self.peer())
        with self.assertRaises(qmp.Lost):
            monitor.ask("query-balloon")
        monitor.close()
        with self.assertRaises(qmp.Lost):
            qmp.Monitor(self.peer(greeting="[]"))
        with self.assertRaises(qmp.Lost):
            qmp.Monitor(self.peer(greeting="hello"))
        with self.assertRaises(qmp.Lost):
            qmp.Monitor("/nowhere/qmp")


if __name__ == "__main__":
    unittest.main()
