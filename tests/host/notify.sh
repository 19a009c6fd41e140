#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What systemd hears (Type=notify): ready once the control socket answers, alive
# as long as ticks are finished, no longer when it hangs, stopping at the end.
set -euo pipefail
bin=$(realpath "${OUTRIDER_BUILD:-build/release}/bin")
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

python3 - "$bin/outriderd" "$scratch" <<'PYTHON'
import os, signal, socket, subprocess, sys, time

daemon, scratch = sys.argv[1:3]
path = scratch + "/control.sock"
listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
listener.bind(scratch + "/notify")


def expect(what, condition, seen=""):
    print("%s: %s %s" % ("ok" if condition else "WRONG", what, seen))
    if not condition:
        process.kill()
        sys.exit(1)


def hear(seconds):
    """What is said within so long."""
    said, end = [], time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        listener.settimeout(left)
        try:
            said.append(listener.recv(256).decode())
        except socket.timeout:
            break
    return said


# Ticks of 2 s are rarer than the watchdog's patience: those count as well
# that are not overdue.
for tick_ms in (20, 2000):
    with open(scratch + "/outrider.yaml", "w") as file:
        file.write("control: {socket: %s}\nrun_directory: %s/run\n"
                   "tick_period_ms: %d\n" % (path, scratch, tick_ms))
    process = subprocess.Popen(
        [daemon, "--config", scratch + "/outrider.yaml"],
        stderr=subprocess.DEVNULL,
        env=dict(os.environ, NOTIFY_SOCKET=scratch + "/notify",
                 WATCHDOG_USEC="400000"))
    listener.settimeout(20)
    expect("the first word", listener.recv(256) == b"READY=1")
    client = socket.socket(socket.AF_UNIX)
    client.connect(path)
    client.sendall(b'{"verb":"status"}\n')
    expect("it answers by then", b'"ok":true' in
           client.recv(65536).replace(b" ", b""))
    alive = hear(2)
    expect("alive each half period", 8 <= len(alive) <= 12 and
           set(alive) == {"WATCHDOG=1"}, "%d in 2 s" % len(alive))
    process.send_signal(signal.SIGSTOP)
    hear(0.1)
    said = hear(1)
    expect("silent while it hangs", said == [], said)
    process.send_signal(signal.SIGCONT)
    said = hear(1)
    expect("alive again", "WATCHDOG=1" in said, said)
    process.terminate()
    said = hear(1)
    expect("the last word", said and said[-1] == "STOPPING=1", said[-1:])
    process.wait()
PYTHON
