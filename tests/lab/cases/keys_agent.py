# SPDX-License-Identifier: Apache-2.0
"""What cases about keys and commands share: outriderd with a configuration of
its own, small VMs in cgroups as hosts have them."""
import json
import os
import socket
import subprocess
import sys
import time

CONFIG = "/run/keys.yaml"
LOG = "/run/keys.log"
CGROUPS = "/sys/fs/cgroup"
LIBVIRT = CGROUPS + r"/machine.slice/machine-qemu\x2d1\x2da.scope/libvirt"
PROXMOX = CGROUPS + "/qemu.slice/100.scope"
wrong = []


def holds(what, condition, seen=""):
    print("%s: %s %s" % ("ok" if condition else "FAILS", what, seen),
          flush=True)
    if not condition:
        wrong.append(what)


class Agent:
    """outriderd with a configuration of its own, and its socket."""

    def __init__(self, config="", path="/run/outrider/control.sock"):
        with open(CONFIG, "w") as file:
            file.write(config)
        if os.path.exists(path):
            os.unlink(path)
        self.path = path
        self.process = subprocess.Popen(["outriderd", "--config", CONFIG],
                                        stderr=open(LOG, "w"))
        deadline = time.monotonic() + 20
        while not os.path.exists(path):
            if time.monotonic() > deadline or self.process.poll() is not None:
                sys.exit("outriderd does not start with:\n%s\n%s" %
                         (config, open(LOG).read()))
            time.sleep(0.05)

    def ask(self, verb, **members):
        client = socket.socket(socket.AF_UNIX)
        client.connect(self.path)
        client.sendall(json.dumps({"verb": verb, **members}).encode() + b"\n")
        return json.loads(client.makefile().readline())

    def vm_count(self):
        return len(self.ask("vm.list")["vms"])

    def rows(self, table):
        """One Sample's rows as dictionaries."""
        sample = self.ask("sample")
        columns = sample["columns"][table]
        return [dict(zip(columns, row)) for row in sample[table]]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()


def start_vm(mode, cgroup=None, *options):
    """A minivm on the first CPU, so that they wait for each other."""
    def enter():
        os.sched_setaffinity(0, {0})
        if cgroup:
            with open(cgroup + "/cgroup.procs", "w") as file:
                file.write("0")
    vm = subprocess.Popen(["minivm", "--mode", mode, "--forever", *options],
                          stdout=subprocess.PIPE, preexec_fn=enter)
    vm.machine = int(vm.stdout.readline().split()[1])  # "ready PID"
    return vm


def enable_cpu(path):
    with open(path + "/cgroup.subtree_control", "w") as file:
        file.write("+cpu")


def make_cgroups():
    for path in (LIBVIRT, PROXMOX):
        made = CGROUPS
        for name in path[len(CGROUPS) + 1:].split("/"):
            enable_cpu(made)
            made += "/" + name
            os.makedirs(made, exist_ok=True)


def finish():
    print("%d are wrong: %s" % (len(wrong), ", ".join(wrong))
          if wrong else "all is as it should be")
    sys.exit(1 if wrong else 0)
