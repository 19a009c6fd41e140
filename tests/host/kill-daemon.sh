#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Acceptance 3.5 with the true outriderd: however it ends, what it moved comes
# back. The sample tier runs beside whatever else the machine does, and allows
# five times as long after a kill.
set -euo pipefail
bin=$(realpath "${OUTRIDER_BUILD:-build/release}/bin")
log=${OUT:?a folder for agents.log}/agents.log
kills=20 stops=20 seconds=20 deaths=2 limit_ms=25
if [[ ${OUTRIDER_FULL:-0} -ne 0 ]]; then
  kills=1000 stops=200 seconds=600 deaths=20 limit_ms=5
fi
[[ -k /dev/shm && -w /dev/shm ]] || { echo "no tmpfs at /dev/shm"; exit 77; }
[[ -w /dev/kvm ]] || { echo "no /dev/kvm to make 200 VMs with"; exit 77; }
scratch=$(mktemp -d /dev/shm/outrider-daemon-XXXXXX)
trap 'rm -rf "$scratch"' EXIT
check() { "$bin/daemon_check" "$bin" "$scratch/host" "$@" 2>>"$log"; }

check kill $kills $limit_ms
check hang $stops 300
check warden $deaths
check both $deaths
check busy $seconds
