#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Acceptance 3: a vCPU that is always busy reads as busy in every 10 ms. Inside a
# lab whose clock counts instructions: who else uses this machine's processors
# is not to be seen there.
set -euo pipefail

labguest start one --vcpus 1 --workload hog --no-marks
status=0
eyes_check busy 10 "$(cat /run/labguest/one/pid)" || status=$?
labguest stop --all
exit "$status"
