#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Acceptance 3 on this machine's own kernel: run and wait of processes that
# compete for a CPU against /proc/TID/schedstat. They are no VMs; the eyes do
# not mind.
set -euo pipefail
seconds=5
[[ ${OUTRIDER_FULL:-0} -eq 0 ]] || seconds=20

pids=()
cleanup() { kill -CONT "${pids[@]}" 2>/dev/null; kill "${pids[@]}" 2>/dev/null; wait; }
trap cleanup EXIT
load() { taskset -c 1 bash -c "$1" & pids+=($!); }

load 'while :; do :; done'
load 'while :; do :; done'
load 'while :; do for i in {1..2000}; do :; done; read -rt 0.003 <> <(:); done'
sleep 0.5
"${OUTRIDER_BUILD:-build/release}"/bin/eyes_check accounting "$seconds" \
  "${pids[@]}"
