#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Acceptance 6: a tick of the whole agent allocates nothing.
set -euo pipefail
bin=${OUTRIDER_BUILD:-build/release}/bin
[[ -w /dev/kvm ]] || { echo "no /dev/kvm to make VMs with"; exit 77; }
"$bin/minivm" --count 50 --mode tick:50 --forever >/dev/null &
minivm=$!
trap 'kill "$minivm"; wait' EXIT
sleep 3
"$bin/eyes_check" ticks 5
