#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A real QEMU (TCG, no guest) answers every query through the library; stopped,
# it is found hung within a second, and ready again when it goes on.
set -euo pipefail
bin=$(realpath "${OUTRIDER_BUILD:-build/release}/bin")
scratch=$(mktemp -d)
vm=
end() {
  [[ -z $vm ]] || { kill -KILL "$vm" && wait "$vm"; } 2>/dev/null || true
  rm -rf "$scratch"
}
trap end EXIT

command -v qemu-system-x86_64 >/dev/null ||
  { echo "no qemu-system-x86_64 on this machine"; exit 77; }
truncate -s 1M "$scratch/disk.img"
qemu-system-x86_64 -accel tcg -S -nodefaults -display none -machine q35 \
  -m 256,slots=4,maxmem=4G -smp 1,maxcpus=4 \
  -device virtio-balloon-pci,id=balloon0,guest-stats-polling-interval=1 \
  -object memory-backend-ram,id=vmm0,size=1G,reserve=off \
  -device virtio-mem-pci,id=vmem0,memdev=vmm0,requested-size=0,block-size=2M \
  -drive "file=$scratch/disk.img,format=raw,if=none,id=disk0" \
  -device virtio-blk-pci,drive=disk0,id=vda \
  -qmp "unix:$scratch/first,server=on,wait=off" \
  -chardev "socket,id=c,path=$scratch/second,server=on,wait=off" \
  -mon chardev=c,mode=control \
  -qmp-pretty "unix:$scratch/third,server=on,wait=off" &
vm=$!
for _ in {1..200}; do
  [[ -S $scratch/third ]] && break
  sleep 0.05
done
"$bin/qmp_check" "$vm" answers
"$bin/qmp_check" "$vm" hang
echo "qmp: a real QEMU answers, hangs and comes back"
