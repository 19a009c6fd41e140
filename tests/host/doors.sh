#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The commands that README shows, and what they say to bad input, with a daemon
# and a small VM on this machine.
set -euo pipefail
bin=$(realpath "${OUTRIDER_BUILD:-build/release}/bin")
scratch=$(mktemp -d)
pids=()
cleanup() {
  kill "${pids[@]}" 2>/dev/null || true
  wait
  rm -rf "$scratch"
}
trap cleanup EXIT
cat >"$scratch/outrider.yaml" <<YAML
control: {socket: $scratch/control.sock, mode: "0666"}
journal: {directory: $scratch/journal}
predictive_scaling: {enabled: true, directory: $scratch/rollups}
YAML
outrider() { "$bin/outrider" --socket "$scratch/control.sock" "$@"; }
wrong=0
# gives CODE WORDS COMMAND...: exits so and says so.
gives() {
  local code=$1 words=$2 got=0 said
  shift 2
  said=$("$@" 2>&1) || got=$?
  if [[ $got -ne $code || $said != *"$words"* ]]; then
    echo "WRONG: $* gave $got (not $code), or did not say '$words':"
    echo "$said" | head -5
    wrong=1
  fi
}

gives 1 'not running' outrider status
[[ -w /dev/kvm ]] || { echo "no /dev/kvm to make a VM with"; exit 77; }
: >"$scratch/ready"
uuid=6c1f0c4e-2bd1-4d7a-9d2f-0f4b6a6f1a11
"$bin/minivm" --mode tick:100 --forever --uuid "$uuid" \
  >"$scratch/ready" & pids+=($!)
"$bin/outriderd" --config "$scratch/outrider.yaml" 2>"$scratch/log" & pids+=($!)
daemon=$!
for _ in {1..100}; do
  [[ -S $scratch/control.sock && -s $scratch/ready ]] && break
  sleep 0.1
done
vm=$(awk '{print $2}' "$scratch/ready")
sleep 60 & pids+=($!)
other=$!
sleep 1.5

degraded=0
[[ $(stat -fc %T /sys/fs/cgroup) == cgroup2fs ]] || degraded=3
gives "$degraded" 'observe' outrider status
gives 0 "pid-$vm" outrider vm list
gives 0 '"schema":1' outrider vm list --json
gives 0 "$vm" outrider vm show "pid-$vm"
gives 1 'no VM' outrider vm show nobody
gives 1 'not a KVM process' outrider vm attach --pid "$other"
gives 1 'no such process' outrider vm attach --pid 4194300
gives 1 'attached already' outrider vm attach --pid "$vm"
gives 0 'pid-' outrider vm detach "pid-$vm"
gives 0 'web' outrider vm attach --pid "$vm" --name web
gives 0 'observe' outrider mode
gives 0 'advise' outrider mode advise
gives 0 'web' outrider allocations
gives 0 'web' outrider explain web
# The worker looks at a VM as soon as it came, if only to say that nothing is
# known of it.
gives 0 '"outlook":{"slots":' outrider explain web --json
gives 0 'observe' outrider vm mode web observe
outrider vm export web >"$scratch/web.json" || wrong=1
gives 0 'goes on' outrider vm import "$scratch/web.json"
gives 1 'no VM' outrider vm export nobody
gives 2 'vm export' outrider vm import "$scratch/outrider.yaml"
gives 1 'No such file' outrider vm import "$scratch/nothing.json"
sed 's/"learned":"..../"learned":"0000/' "$scratch/web.json" \
  >"$scratch/bad.json"
gives 4 'learned' outrider vm import "$scratch/bad.json"
gives 0 'web' outrider top --batch --interval 0.5 --count 2
gives 0 'demand_mcpu' outrider top --batch --csv --interval 0.5 --count 2
gives 2 '' outrider top --sort nothing
gives 0 '' outrider record "$scratch/a.rec" --seconds 2 --period-ms 20
gives 0 'identical: yes' outrider replay "$scratch/journal"
gives 0 'decided by' outrider explain web --at "$(date -u +%FT%TZ)" \
  --journal "$scratch/journal"
gives 0 'web' outrider record --replay "$scratch/a.rec"
gives 0 'autopilot-like' outrider eval "$scratch/a.rec"
gives 0 '"method":"holt"' outrider eval "$scratch/a.rec" --json --tau 0.9 \
  --methods holt --plot "$scratch/a.svg"
gives 2 'there are:' outrider eval "$scratch/a.rec" --methods nothing
printf 'web\n1\n-2\n' >"$scratch/bad.csv"
gives 1 'bad.csv:3:1: negative' outrider eval "$scratch/bad.csv"
gives 0 'autopilot-like' outrider eval "$scratch/bad.csv" --skip-bad
gives 1 'No such file' outrider eval "$scratch/nothing.csv"
size=$(stat -c %s "$scratch/a.rec")
head -c $((size - 7)) "$scratch/a.rec" >"$scratch/torn.rec"
gives 1 'byte' outrider record --replay "$scratch/torn.rec"
gives 1 '' outrider record --replay "$bin/outrider"
printf 'tick_period_ms: 1\n' >"$scratch/bad.yaml"
gives 2 'bad.yaml:1' "$bin/outriderd" --config "$scratch/bad.yaml"
printf 'no_such_key: 1\n' >"$scratch/bad.yaml"
gives 2 'no_such_key' "$bin/outriderd" --check-config --config "$scratch/bad.yaml"
gives 0 'tick_period_ms' "$bin/outriderd" --check-config
gives 1 'answers at' "$bin/outriderd" --config "$scratch/outrider.yaml"

# The configuration that README shows.
awk '/^```yaml/ { on = 1; next } /^```/ { on = 0 } on' README.md \
  >"$scratch/shown.yaml"
gives 0 'ci-*' "$bin/outriderd" --check-config --config "$scratch/shown.yaml"

python3 - "$scratch/control.sock" <<'PYTHON' || wrong=1
import json, socket, sys
def ask(data):
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(5)
    client.connect(sys.argv[1])
    try:
        client.sendall(data)
    except OSError:
        pass
    said = b""
    try:
        while chunk := client.recv(65536):
            said += chunk
            if said.endswith(b"\n") and data.startswith(b'{"verb"'):
                break
    except (socket.timeout, ConnectionResetError):
        pass
    return said
for bad in (b"no json\n", b"[" * 60000 + b"\n", b'{"a":1,"a":2}\n',
            b"x" * 200000):
    reply = json.loads(ask(bad).split(b"\n")[0])
    assert reply["ok"] is False and reply["error"], bad[:20]
assert json.loads(ask(b'{"verb":"status"}\n'))["ok"] is True
print("malformed and oversized messages get an error; the daemon is unmoved")
PYTHON

# Of a slot that has not ended its last act is to write what it saw.
kill "$daemon"
wait "$daemon" || true
if [[ ! -s $scratch/rollups/$uuid.rollup ]]; then
  echo "WRONG: there is no roll-up of $uuid"
  wrong=1
fi
exit "$wrong"
