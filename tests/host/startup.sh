#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Acceptance 6: ready within 100 ms of exec with 100 VMs to attach, 8 MiB and
# 4 KiB a VM resident. "Ready" is that the control socket answers. The sample
# tier runs beside whatever else the machine does, and allows three times as
# long.
set -euo pipefail
bin=$(realpath "${OUTRIDER_BUILD:-build/release}/bin")
scratch=$(mktemp -d)
: >"$scratch/ready"
vms=100 runs=5 limit_ms=300
[[ ${OUTRIDER_FULL:-0} -eq 0 ]] || runs=20 limit_ms=100

[[ -w /dev/kvm ]] || { echo "no /dev/kvm to make 100 VMs with"; exit 77; }
"$bin/minivm" --count $vms --forever >"$scratch/ready" &
minivm=$!
daemon=
cleanup() {
  [[ -z $daemon ]] || kill "$daemon" 2>/dev/null || true
  kill "$minivm" 2>/dev/null || true
  wait
  rm -rf "$scratch"
}
trap cleanup EXIT
for _ in {1..300}; do
  [[ $(wc -l <"$scratch/ready") -lt $vms ]] || break
  sleep 0.1
done

cat >"$scratch/outrider.yaml" <<YAML
control: {socket: $scratch/control.sock}
journal: {directory: $scratch/journal}
YAML

python3 - "$bin/outriderd" "$scratch" $runs $vms $limit_ms <<'PYTHON'
import json, socket, statistics, subprocess, sys, time

daemon, scratch = sys.argv[1:3]
runs, vms, limit_ms = map(int, sys.argv[3:6])
ready, resident, yard = [], [], []
for _ in range(runs):
    begun = time.monotonic()
    subprocess.run([daemon, "--version"], stdout=subprocess.DEVNULL)
    yard.append((time.monotonic() - begun) * 1e3)
    begun = time.monotonic()
    process = subprocess.Popen([daemon, "--config", scratch + "/outrider.yaml"],
                               stderr=subprocess.DEVNULL)
    client = socket.socket(socket.AF_UNIX)
    while True:
        try:
            client.connect(scratch + "/control.sock")
            break
        except OSError:
            if process.poll() is not None:
                sys.exit("outriderd ended with %d" % process.returncode)
            time.sleep(0.001)
    client.sendall(b'{"verb":"status"}\n')
    status = json.loads(client.makefile().readline())
    ready.append((time.monotonic() - begun) * 1e3)
    time.sleep(1)
    with open("/proc/%d/status" % process.pid) as lines:
        rss = next(l for l in lines if l.startswith("VmRSS:"))
    resident.append(int(rss.split()[1]))
    process.terminate()
    process.wait()
    if status["vms"] != vms:
        sys.exit("it attached %d of %d VMs" % (status["vms"], vms))

limit_kib = 8 * 1024 + 4 * vms
ms, kib = statistics.median(ready), max(resident)
print("ready with %d VMs: median %.1f ms (%.1f..%.1f), limit %d; beside it, "
      "outriderd --version: %.1f ms" % (vms, ms, min(ready), max(ready),
                                        limit_ms, statistics.median(yard)))
print("resident: %d KiB, limit %d" % (kib, limit_kib))
sys.exit(0 if ms <= limit_ms and kib <= limit_kib else 1)
PYTHON
