# SPDX-License-Identifier: Apache-2.0
"""A QMP client for the baselines and the recorder: one request at a time.

QEMU speaks first (a greeting), takes nothing but qmp_capabilities then, answers
each request in turn and may put events before an answer. A socket has one
client; a second one waits until the first is gone.
"""
import json
import socket


class Refused(Exception):
    """QEMU answered with an error; its class and words."""


class Lost(Exception):
    """No answer in time, or the peer is gone, or it does not speak QMP."""


class Monitor:
    """An open session. `events` holds those that came and were not taken."""

    def __init__(self, path, timeout_s=10):
        self.events = []
        self.number = 0
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(timeout_s)
        self.lines = self.socket.makefile("r")
        try:
            self.socket.connect(path)
            if "QMP" not in self._read():
                raise Lost("no greeting")
            self.ask("qmp_capabilities")
        except (OSError, Lost) as error:
            self.close()
            raise Lost("%s: %s" % (path, error)) from error

    def _read(self):
        try:
            line = self.lines.readline()
            message = json.loads(line) if line.endswith("\n") else None
        except (OSError, ValueError) as error:
            raise Lost(str(error)) from error
        if not isinstance(message, dict):
            raise Lost("the peer is gone" if message is None else
                       "not an object")
        return message

    def ask(self, command, **arguments):
        """What the command returns."""
        self.number += 1
        request = {"execute": command, "id": self.number}
        if arguments:
            request["arguments"] = arguments
        try:
            self.socket.sendall(json.dumps(request).encode() + b"\n")
        except OSError as error:
            raise Lost(str(error)) from error
        while True:
            message = self._read()
            if "event" in message:
                self.events.append(message)
            elif message.get("id") != self.number:
                continue  # to somebody who went away
            elif "error" in message:
                error = message["error"]
                raise Refused("%s: %s" % (error.get("class"),
                                          error.get("desc")))
            else:
                return message.get("return")

    def take_events(self):
        taken, self.events = self.events, []
        return taken

    def close(self):
        self.lines.close()
        self.socket.close()


def balloon_bytes(monitor):
    """What the guest holds at most, by its balloon."""
    return monitor.ask("query-balloon")["actual"]


def set_balloon(monitor, target_bytes):
    """Returns at once; the guest follows as fast as it can, or never."""
    monitor.ask("balloon", value=target_bytes)


def guest_stats(monitor, device="/machine/peripheral/balloon0"):
    """What the guest last said of itself, in bytes; at most a second old."""
    stats = monitor.ask("qom-get", path=device, property="guest-stats")
    return stats["stats"]
