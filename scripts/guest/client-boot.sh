#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# The first program of the client VM, in its initramfs. It assembles the root file system and runs client.sh in it.
# Lower layer: the shared read-only image of tools. Upper layer: a disk of this run alone, so that files take no
# memory. On top: the run's own files (a tar archive).
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev 2>/dev/null

give_up() { echo "anemone-vm: $*" >/dev/console; poweroff -f; }

# Disks are found by serial number: their letters depend on --disk.
disk() {
    for block in /sys/block/vd*; do
        [ "$(cat "$block/serial")" = "$1" ] && echo "/dev/${block##*/}" && return
    done
    give_up "the disk '$1' is missing"
}

mkdir -p /tools /top /new
mount -t ext4 -o ro,noload "$(disk tools)" /tools || give_up "the tools image cannot be mounted"
mount -t ext4 -o noatime,nobarrier "$(disk root)" /top || mount -t ext4 "$(disk root)" /top || give_up "the root disk cannot be mounted"
mkdir -p /top/upper /top/work
mount -t overlay -o lowerdir=/tools,upperdir=/top/upper,workdir=/top/work overlay /new ||
    give_up "the root file system cannot be put together"
tar -x -f "$(disk files)" -C /new || give_up "this run's files cannot be unpacked"
umount /proc /sys
mount -o move /dev /new/dev
# shellcheck disable=SC2093 # the script continues only if that failed
exec switch_root -c /dev/console /new /etc/anemone/client.sh
give_up "switch_root failed"
