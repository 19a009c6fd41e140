#!/usr/bin/python3 -B
# SPDX-License-Identifier: Apache-2.0
"""Records answers/: the lines that a real QEMU (qemu-system-x86_64, TCG, no
guest) answers with. Of its schema, what the tests ask for is kept."""

import json
import pathlib
import shutil
import socket
import subprocess
import tempfile
import time

ANSWERS = pathlib.Path(__file__).resolve().parent / "answers"
SCHEMA_COMMANDS = {"query-status", "balloon", "device_add", "qom-set",
                   "block_set_io_throttle"}
SCHEMA_EVENTS = {"BALLOON_CHANGE", "STOP"}
BALLOON = {"path": "/machine/peripheral/balloon0"}
VIRTIO_MEM = {"path": "/machine/peripheral/vmem0"}
SLOT = {"socket-id": 0, "core-id": 1, "thread-id": 0}

# (file, command, arguments), in order; without a file: only done.
STEPS = [
    ("status", "query-status", {}),
    ("cpus", "query-cpus-fast", {}),
    ("cpu-slots", "query-hotpluggable-cpus", {}),
    ("memory-devices", "query-memory-devices", {}),
    ("memory-size", "query-memory-size-summary", {}),
    ("balloon", "query-balloon", {}),
    ("block", "query-block", {}),
    ("peripheral", "qom-list", {"path": "/machine/peripheral"}),
    ("peripheral-anon", "qom-list", {"path": "/machine/peripheral-anon"}),
    ("guest-stats", "qom-get", BALLOON | {"property": "guest-stats"}),
    ("stats-interval", "qom-get",
     BALLOON | {"property": "guest-stats-polling-interval"}),
    ("requested-size", "qom-set",
     VIRTIO_MEM | {"property": "requested-size", "value": 512 << 20}),
    ("requested-size-refused", "qom-set",
     VIRTIO_MEM | {"property": "requested-size", "value": 1}),
    (None, "object-add",
     {"qom-type": "memory-backend-ram", "id": "mem1", "size": 128 << 20}),
    (None, "device_add", {"driver": "pc-dimm", "id": "dimm1", "memdev": "mem1"}),
    ("memory-devices-dimm", "query-memory-devices", {}),
    (None, "device_add",
     SLOT | {"driver": "qemu64-x86_64-cpu", "id": "cpu1"}),
    ("cpus-plugged", "query-cpus-fast", {}),
    ("cpu-slots-plugged", "query-hotpluggable-cpus", {}),
    ("device-del-refused", "device_del", {"id": "none"}),
]


class Peer:
    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(path)
        self.lines = self.socket.makefile("rb")
        self.id = 0

    def ask(self, command, arguments):
        self.id += 1
        text = {"execute": command, "arguments": arguments, "id": self.id}
        self.socket.sendall(json.dumps(text).encode() + b"\n")
        while True:
            line = self.lines.readline()
            if "event" not in json.loads(line):
                return line


def small_schema(line):
    reply = json.loads(line)
    entries = reply["return"]
    kept = [e for e in entries
            if (e["meta-type"], e["name"]) in
            {("command", c) for c in SCHEMA_COMMANDS} |
            {("event", e) for e in SCHEMA_EVENTS}]
    types = {e["arg-type"] for e in kept}
    reply["return"] = kept + [e for e in entries if e["name"] in types]
    return json.dumps(reply).encode() + b"\n"


def qemu(folder):
    disk = folder / "disk.img"
    disk.write_bytes(bytes(1 << 20))
    return subprocess.Popen([
        "qemu-system-x86_64", "-accel", "tcg", "-S", "-nodefaults",
        "-display", "none", "-machine", "q35", "-m", "256,slots=4,maxmem=4G",
        "-smp", "1,maxcpus=4",
        "-device", "virtio-balloon-pci,id=balloon0",
        "-object", "memory-backend-ram,id=vmm0,size=1G,reserve=off",
        "-device", "virtio-mem-pci,id=vmem0,memdev=vmm0,requested-size=0,"
        "block-size=2M",
        "-drive", f"file={disk},format=raw,if=none,id=disk0",
        "-device", "virtio-blk-pci,drive=disk0,id=vda",
        "-qmp", f"unix:{folder}/qmp,server=on,wait=off",
        "-qmp-pretty", f"unix:{folder}/pretty,server=on,wait=off"])


def record(folder):
    while not (folder / "pretty").exists():
        time.sleep(0.05)
    peer = Peer(str(folder / "qmp"))
    (ANSWERS / "greeting.json").write_bytes(peer.lines.readline())
    peer.ask("qmp_capabilities", {"enable": ["oob"]})
    for name, command, arguments in STEPS:
        line = peer.ask(command, arguments)
        if name:
            (ANSWERS / f"{name}.json").write_bytes(line)
    schema = small_schema(peer.ask("query-qmp-schema", {}))
    (ANSWERS / "schema.json").write_bytes(schema)
    pretty = Peer(str(folder / "pretty"))
    block = b""
    while not block.endswith(b"\n}\r\n"):
        block += pretty.lines.readline()
    (ANSWERS / "greeting-pretty.json").write_bytes(block)
    peer.ask("quit", {})


def main():
    folder = pathlib.Path(tempfile.mkdtemp(prefix="qmp-"))
    vm = qemu(folder)
    try:
        record(folder)
    finally:
        vm.kill()
        vm.wait()
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
