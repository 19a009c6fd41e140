#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The hands on a kernel's own cgroups, in the layouts that hosts have: what is
# written is what is there, a foreign write is noticed, every baseline is back.
set -euo pipefail
cgroups=/sys/fs/cgroup
enable() { echo +cpu >"$1/cgroup.subtree_control"; }

# libvirt's, with caps that its owner had set.
scope=$cgroups/machine.slice/machine-qemu\\x2d1\\x2dweb.scope
mkdir -p "$scope/libvirt"
enable "$cgroups/machine.slice"
enable "$scope"
mkdir "$scope/libvirt/"{emulator,vcpu0,vcpu1}
for child in "$scope/libvirt"/*/; do echo threaded >"$child/cgroup.type"; done
enable "$scope/libvirt"
echo 9000 100000 >"$scope/libvirt/cpu.max"
echo 8000 >"$scope/libvirt/cpu.max.burst"
echo 50000 50000 >"$scope/libvirt/vcpu1/cpu.max"

# Proxmox's, one scope a VM; and what somebody made for a QEMU of theirs.
mkdir -p "$cgroups/qemu.slice/101.scope" "$cgroups/mine"
enable "$cgroups/qemu.slice"
echo 250000 100000 >"$cgroups/qemu.slice/101.scope/cpu.max"

act_check "${scope#"$cgroups"}/libvirt" /qemu.slice/101.scope /mine
