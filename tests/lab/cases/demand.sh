#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Acceptance 2: demand is what the work wants, not what it ran under a cap and
# not what it waited. Runs inside a lab with --icount: only there is a burst
# that was measured as 10 ms of work still 10 ms a minute later.
set -euo pipefail
pid_of() { cat "/run/labguest/$1/pid"; }
status=0

# Five vCPUs, 10 % each, that wake together and share one CPU. A guest with a
# kernel of its own and five vCPUs does not boot on one emulated processor.
minivm --vcpus 5 --mode burst:100,10000 --forever >/run/ready &
minivm=$!
until [[ -s /run/ready ]]; do sleep 0.2; done
sleep 2
eyes_check together 20 0.5 "$(awk '{print $2}' /run/ready)" || status=$?
kill "$minivm"

# 10 ms of work in 100 ms, under a cap of 5 %.
labguest start held --workload burst:100,0.1 --cap 5000/100000 --no-marks
code=0
eyes_check capped "$(labguest cgroup held)/cpu.max" 0.1 "$(pid_of held)" ||
  code=$?
# By the kernel's word it does not do its 10 ms: as lost as one that has ended.
[[ $code -ne 3 ]] || echo held >>/run/labguest.lost
[[ $code -eq 0 ]] || status=$code
labguest stop --all
exit "$status"
