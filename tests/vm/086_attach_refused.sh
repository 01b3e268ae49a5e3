#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# what: an unsuitable disk is refused with its reason, and nothing changes
# machine: disk
# bound: 120
# debug: yes
# shellcheck source-path=SCRIPTDIR source=common.sh source=disk.sh disable=SC2015
. "$(dirname "$0")/common.sh"
. "$(dirname "$0")/disk.sh"

needs_single
requires anemonectl losetup mkfs.ext4
anemone_load size_mib=64 || fail "load"
load_begin --threads 1 --blocks 256

# cannot TEXT PATH: attaching it is refused, and the log says why.
cannot() {
    dmesg -c >/dev/null
    anemonectl attach "$2" 2>"$SCRATCH/refused" && fail "$2 was attached"
    dmesg | grep -q "$1" || fail "$2: no message '$1': $(dmesg; cat "$SCRATCH/refused")"
    disk_is none || fail "$2: $(cat "$ANEMONE_DEBUG/disk")"
    load_runs || fail "$2: the load does not continue"
}
loop() {
    loop_file=$(mktemp -p "$SCRATCH") && truncate -s "${1}M" "$loop_file"
    shift
    losetup --show "$@" -f "$loop_file"
}
small=$(loop 63) && fixed=$(loop 80 -r) || fail "no loop devices"
cannot "/dev/none: there is no such file" /dev/none
cannot "/etc/passwd is not a block device" /etc/passwd
cannot "/dev/null is not a block device" /dev/null
cannot "$small is too small: 66060288 bytes, 67108864 are needed" "$small"
cannot "$fixed is read-only" "$fixed"
mkfs.ext4 -q "$ANEMONE_DISK" && mkdir "$SCRATCH/mounted" && mount "$ANEMONE_DISK" "$SCRATCH/mounted" || fail "no file system"
cannot "$ANEMONE_DISK is in use" "$ANEMONE_DISK"
umount "$SCRATCH/mounted"
mkswap "$ANEMONE_DISK" >/dev/null && swapon "$ANEMONE_DISK" || fail "no swap"
cannot "$ANEMONE_DISK is in use" "$ANEMONE_DISK"
swapoff "$ANEMONE_DISK"
cannot "$ANEMONE_DEVICE is the Anemone device itself" "$ANEMONE_DEVICE"
ln -s "$ANEMONE_DEVICE" "$SCRATCH/link"
cannot "$SCRATCH/link is the Anemone device itself" "$SCRATCH/link"
dmsetup create "$DM" --noudevsync --noudevrules --table "0 131072 linear $ANEMONE_DEVICE 0" && dm_node || fail "dmsetup"
cannot "$DM_DISK is the Anemone device itself, or is made of it" "$DM_DISK"
dmsetup create upper --noudevsync --noudevrules --table "0 131072 linear $(readlink "$DM_DISK") 0" || fail "dmsetup"
upper=/dev/$(dmsetup info -c --noheadings -o blkdevname upper)
cannot "$upper is the Anemone device itself, or is made of it" "$upper"
above=$(losetup --show -f "$upper") || fail "no loop device"
cannot "$above is the Anemone device itself, or is made of it" "$above"
losetup -d "$above" && dmsetup remove upper && dmsetup remove "$DM" || fail "dmsetup remove"
above=$(losetup --show -f "$ANEMONE_DEVICE") || fail "no loop device"
cannot "$above is the Anemone device itself, or is made of it" "$above"
ln -s "$above" "$SCRATCH/above"
cannot "$SCRATCH/above is the Anemone device itself, or is made of it" "$SCRATCH/above"
losetup -d "$above" || fail "the loop device is held"
dmsetup info "$DM" >/dev/null 2>&1 && fail "the device-mapper device is held"

# One disk at a time.
anemonectl attach "$ANEMONE_DISK" || fail "attach"
disk_is attached || fail "$(cat "$ANEMONE_DEBUG/disk")"
big=$(loop 80) || fail "no loop device"
anemonectl attach "$big" 2>/dev/null && fail "a second disk was attached"
anemonectl attach "$ANEMONE_DISK" || fail "the disk that is attached, once more"
losetup -d "$big" "$small" "$fixed"
wait_for 30 "the disk detached" anemonectl detach || fail "detach"
disk_is none || fail "$(cat "$ANEMONE_DEBUG/disk")"
anemonectl detach 2>/dev/null && fail "detached twice"
mount -t ext4 "$ANEMONE_DISK" "$SCRATCH/mounted" 2>/dev/null && umount "$SCRATCH/mounted"
mkswap "$ANEMONE_DISK" >/dev/null && swapon "$ANEMONE_DISK" && swapoff "$ANEMONE_DISK" || fail "it is still held"
load_end || fail "the load"
