#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Acceptance 5: in the lab nothing is missing, and the doctor says so.
set -euo pipefail
outrider doctor
outrider doctor --json | jq -e '[.lines[] | select(.state != "ok")] == []' \
  >/dev/null
