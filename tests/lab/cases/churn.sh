#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Acceptance 3: VMs come and go, and nothing of them stays behind; and each is
# noticed in time. Inside a lab with one vCPU: attaching under load can panic an
# emulated kernel with two.
set -euo pipefail
minivms=200 guests=1
[[ ${OUTRIDER_FULL:-0} -eq 0 ]] || minivms=1000 guests=5

# Real guests among the small ones, one after another.
real_guests() {
  for ((i = 1; i <= guests; i++)); do
    labguest start "g$i" --no-marks && labguest stop "g$i" || return 1
  done
}
if [[ ${1:-} == real_guests ]]; then
  real_guests
  exit
fi

status=0
eyes_check discovery "$(command -v minivm)" 10 || status=$?
eyes_check churn "$(command -v minivm)" "$minivms" "$0" real_guests || status=$?
exit "$status"
