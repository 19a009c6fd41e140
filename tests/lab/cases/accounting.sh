#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Acceptance 3: run and wait of every thread of guests with 1, 2 and 4 vCPUs
# under changing load. Runs inside the lab.
set -euo pipefail
seconds=${1:-20}

# The hog comes last: guests boot slowly beside it.
labguest start four --vcpus 4 --workload ramp:10,0.02,0.15 --seed 3 --no-marks
cal=$(labguest marks four | awk '/CAL/ {print $NF; exit}')
labguest start two --vcpus 2 --workload burst:40,0.15,0.5 --cal "$cal" \
  --seed 2 --no-marks
labguest start one --vcpus 1 --workload hog --cal "$cal" --no-marks

pid_of() { cat "/run/labguest/$1/pid"; }
status=0
eyes_check accounting "$seconds" "$(pid_of one)" "$(pid_of two)" \
  "$(pid_of four)" || status=$?
labguest stop --all
exit "$status"
