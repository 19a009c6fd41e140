#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Acceptance 3.5: however the process that moves 200 caps ends, they come back.
# What the wardens said is in wardens.log. The sample tier runs beside whatever
# else the machine does, and allows three times as long after a kill.
set -euo pipefail
bin=${OUTRIDER_BUILD:-build/release}/bin
log=${OUT:?a folder for wardens.log}/wardens.log
kills=60 stops=20 seconds=20 limit_ms=15
[[ ${OUTRIDER_FULL:-0} -eq 0 ]] || kills=1000 stops=200 seconds=600 limit_ms=5
[[ -k /dev/shm && -w /dev/shm ]] || { echo "no tmpfs at /dev/shm"; exit 77; }

"$bin/kill_check" kill $kills $limit_ms 2>"$log"
"$bin/kill_check" hang $stops 300 2>>"$log"
"$bin/kill_check" busy $seconds 2>>"$log"
