#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# what: a local device is checked, held while the module is loaded, and released
# machine: segment
# bound: 120
# debug: yes
# shellcheck source-path=SCRIPTDIR source=common.sh disable=SC2015
. "$(dirname "$0")/common.sh"

needs_single
requires losetup mkfs.ext4

# loop MIB [OPTION...]: makes a block device of that size.
loop() {
    loop_file=$(mktemp -p "$SCRATCH") && truncate -s "${1}M" "$loop_file"
    shift
    losetup --show "$@" -f "$loop_file"
}
disk=$(loop 80) && small=$(loop 63) && fixed=$(loop 80 -r) || fail "no loop devices"
set -- interface=eth0 servers="$ANEMONE_SERVERS" size_mib=64

refused ENXIO "local_device=/dev/none: there is no such file" "$@" local_device=/dev/none
refused ENOTBLK "local_device=/etc/passwd is not a block device" "$@" local_device=/etc/passwd
refused ENOTBLK "local_device=/dev/null is not a block device" "$@" local_device=/dev/null
refused ENOSPC "local_device=$small is too small: 66060288 bytes, 67108864 are needed" "$@" local_device="$small"
refused EROFS "local_device=$fixed is read-only" "$@" local_device="$fixed"

mkfs.ext4 -q "$disk" && mkdir "$SCRATCH/mounted" && mount "$disk" "$SCRATCH/mounted" || fail "no file system"
refused EBUSY "local_device=$disk is in use" "$@" local_device="$disk"
umount "$SCRATCH/mounted"
mkswap "$disk" >/dev/null && swapon "$disk" || fail "no swap"
refused EBUSY "local_device=$disk is in use" "$@" local_device="$disk"
swapoff "$disk"

refused ENOMEM "local_device=$disk: no memory for the mirror's pool of 1024 MiB" "$@" local_device="$disk" mirror_pool_mib=1024
# A load that fails later releases it, ...
refused EINVAL "replicas=4 is out of range" "$@" local_device="$disk" replicas=4
# ... a load that succeeds holds it, ...
anemone_load size_mib=64 local_device="$disk" || fail "it was not taken"
mount "$disk" "$SCRATCH/mounted" 2>/dev/null && fail "it can be mounted while the module has it"
swapon "$disk" 2>/dev/null && fail "it can be swapped on while the module has it"
losetup -d "$disk" 2>/dev/null
[ -e "/sys/block/${disk##*/}/loop" ] || fail "it can be detached while the module has it"
anemone_unload || fail "unload"
# ... and unloading releases it. (The loop device disappears when it is no longer held.)
wait_for 10 "the loop device is released" test ! -e "/sys/block/${disk##*/}/loop" || fail "it is still held"

# With a local device no server is needed. The log reports what is missing.
disk=$(loop 80) || fail "no loop device"
dmesg -c >/dev/null
insmod "$ANEMONE_MODULE" interface=eth0 size_mib=64 local_device="$disk" || fail "refused without servers"
dmesg | grep -q "degraded: 0 of 0 servers answered, 2 replicas are wanted" || fail "not said to be degraded: $(dmesg)"
anemone_unload || fail "unload"
dmesg -c >/dev/null
insmod "$ANEMONE_MODULE" interface=eth0 size_mib=64 local_device="$disk" servers=52:54:00:a0:00:71 connect_ms=300 ||
    fail "refused although there is a local device"
dmesg | grep -q "degraded: 0 of 1 servers answered, 2 replicas are wanted" || fail "not said to be degraded: $(dmesg)"
anemone_unload || fail "unload"
losetup -d "$disk" || fail "it is still held"
losetup -d "$small" "$fixed"
nothing_left || fail "something is left"
