#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Acceptance 4: what kvm_entry and kvm_exit cost. KVM's tracepoints do not fire
# on every development machine, so: in the lab, where time is counted in
# instructions, against the sched_switch program, whose native cost is known.
set -euo pipefail
bench_probe kvm switch --quads 5 --json >/run/figures.json || true
jq -r '.figures[] | "\(.name) \(.median) ns of virtual time, beside \(.beside)"' \
  /run/figures.json
cp /run/figures.json "$LAB_OUT/"
# 120 ns natively where the switch program takes 20: at most six times as much.
jq -e '
  def median(name): .figures[] | select(.name == name) | .median;
  (median("kvm_entry_and_exit") / median("switch_vm_thread_vcpus")) as $ratio
  | "kvm_entry + kvm_exit: \($ratio) times the sched_switch program (limit 6)",
    ($ratio <= 6)' /run/figures.json
