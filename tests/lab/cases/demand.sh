#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Acceptance 2: demand is what the work wants, not what it ran under a cap and
# not what it waited. Runs inside the lab.
set -euo pipefail
pid_of() { cat "/run/labguest/$1/pid"; }
status=0

# Five vCPUs, 10 % each, that wake together and share one CPU.
labguest start five --vcpus 5 --workload burst:100,0.1,sync --affinity 1
cal=$(labguest marks five | awk '/CAL/ {print $NF; exit}')
eyes_check together 20 0.5 "$(pid_of five)" || status=$?
labguest stop five

# 10 ms of work in 100 ms, under a cap of 5 %.
labguest start held --workload burst:100,0.1 --cal "$cal" --cap 5000/100000
eyes_check capped "$(labguest cgroup held)/cpu.max" 0.1 "$(pid_of held)" ||
  status=$?
labguest stop --all
exit "$status"
