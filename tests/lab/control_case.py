# SPDX-License-Identifier: Apache-2.0
"""What the cases that watch the closed loop share: an agent, its VMs, and a
look-out for writes that asks nobody but the kernel."""
import atexit
import ctypes
import glob
import json
import os
import select
import socket
import struct
import subprocess
import sys
import threading
import time

CGROUPS = "/sys/fs/cgroup"
SOCKET = "/run/outrider/control.sock"


def fail(text):
    print("FAILS: " + text, flush=True)
    sys.exit(1)


def holds(condition, text):
    """Prints the figure that is judged, and ends the case if it is wrong."""
    if not condition:
        fail(text)
    print("ok: " + text, flush=True)


def wait_until(condition, seconds, what):
    """Returns how long it took."""
    start = time.monotonic()
    while not condition():
        if time.monotonic() - start > seconds:
            fail("%s, after %g s" % (what, seconds))
        time.sleep(0.002)
    return time.monotonic() - start


def read(path):
    with open(path) as file:
        return file.read().strip()


def write(path, text):
    """In one write: to cut the file off first would be an event of its own."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)
    os.write(fd, text.encode())
    os.close(fd)


def cpu_stat(cgroup):
    lines = read(cgroup + "/cpu.stat").splitlines()
    return {key: int(value) for key, value in map(str.split, lines)}


class Writes:
    """Every write to a cpu.* file of a cgroup, by anybody: (when, file).

    inotify joins neighbours that are alike; reads are watched as well because
    an agent that reads back what it wrote keeps them apart.
    """
    MODIFY, ACCESS = 2, 1

    def __init__(self, cgroup):
        libc = ctypes.CDLL(None, use_errno=True)
        self.fd = libc.inotify_init1(0)
        if libc.inotify_add_watch(self.fd, cgroup.encode(),
                                  self.MODIFY | self.ACCESS) < 0:
            fail("inotify on " + cgroup)
        self.seen = []
        threading.Thread(target=self._collect, daemon=True).start()

    def _collect(self):
        while True:
            events = os.read(self.fd, 65536)
            at = 0
            while at < len(events):
                _, mask, _, length = struct.unpack_from("iIII", events, at)
                name = events[at + 16:at + 16 + length].rstrip(b"\0").decode()
                at += 16 + length
                if mask & self.MODIFY and name.startswith("cpu."):
                    self.seen.append((time.monotonic(), name))

    def since(self, start, name="cpu.max"):
        return [at for at, file in self.seen if at >= start and file == name]


class Agent:
    """outriderd with a configuration of its own."""

    def __init__(self, config, name="outriderd", path=SOCKET):
        self.path = path
        self.log = "/run/%s.log" % name
        with open("/run/%s.yaml" % name, "w") as file:
            file.write("%s\ncontrol: {socket: %s}\n" % (config, path))
        if os.path.exists(path):
            os.unlink(path)
        self.process = subprocess.Popen(
            ["outriderd", "--config", "/run/%s.yaml" % name],
            stderr=open(self.log, "w"))
        self.pid = self.process.pid
        # A case that fails may be run again, and finds no other agent then.
        atexit.register(self.process.kill)
        wait_until(self._answers, 300, "outriderd does not answer")

    def _answers(self):
        if self.process.poll() is not None:
            fail("outriderd ended: " + read(self.log))
        return os.path.exists(self.path)

    def ask(self, verb, **members):
        client = socket.socket(socket.AF_UNIX)
        client.connect(self.path)
        client.sendall(json.dumps({"verb": verb, **members}).encode() + b"\n")
        reply = json.loads(client.makefile().readline())
        client.close()
        return reply

    def allocations(self):
        return self.ask("allocations")["vms"]

    def says(self, text):
        return [line for line in read(self.log).splitlines() if text in line]

    def end(self):
        """Returns its exit code."""
        self.process.terminate()
        return self.process.wait()


def wardens():
    """The processes of that name, whoever started them."""
    found = []
    for path in glob.glob("/proc/[0-9]*/comm"):
        try:
            if read(path) == "outrider-warden":
                found.append(int(path.split("/")[2]))
        except OSError:
            pass  # it ended meanwhile
    return found


small_vms = []


def lose(name, what):
    """The emulator has lost a guest: tests/lab/steady tries again."""
    write("/run/labguest.lost", name)
    for vm in small_vms:
        vm.kill()
    fail("%s: %s" % (name, what))


def small_vm(number, mode):
    """A VM of a few instructions, where Proxmox would put it: it, its
    cgroup."""
    parent = CGROUPS + "/qemu.slice"
    cgroup = "%s/%d.scope" % (parent, number)
    os.makedirs(cgroup, exist_ok=True)
    write(CGROUPS + "/cgroup.subtree_control", "+cpu")
    write(parent + "/cgroup.subtree_control", "+cpu")

    def enter():
        write(cgroup + "/cgroup.procs", "0")
    vm = subprocess.Popen(["minivm", "--mode", mode, "--thread-names",
                           "--forever"], stdout=subprocess.PIPE,
                          preexec_fn=enter)
    small_vms.append(vm)
    if not select.select([vm.stdout], [], [], 30)[0]:
        lose("minivm", "it has not entered its guest after 30 s")
    vm.stdout.readline()
    return vm, cgroup


def guest(name, *options):
    """A real guest; returns its cgroup."""
    subprocess.run(["labguest", "start", name, *options], check=True)
    return subprocess.run(["labguest", "cgroup", name], check=True,
                          stdout=subprocess.PIPE, text=True).stdout.strip()
