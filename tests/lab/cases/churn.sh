#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Acceptance 3: VMs come and go, and nothing of them stays behind. Inside a lab
# with one vCPU: attaching under load can panic an emulated kernel with two.
set -euo pipefail
count=${1:-1000}
eyes_check churn "$(command -v minivm)" "$count"
