#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# what: the module is unloaded while a disk that has just stopped has its I/O: the disk stays open, so it cannot be removed below the I/O, completes it later, and can be used again
# machine: disk
# bound: 120
# debug: yes
# kinds: cfi rt
# shellcheck source-path=SCRIPTDIR source=common.sh source=disk.sh disable=SC2015
. "$(dirname "$0")/common.sh"
. "$(dirname "$0")/disk.sh"

needs_single
requires dmsetup
random_file "$SCRATCH/random" 2097152
dm_linear || fail "dmsetup"
# A disk whose driver has a structure for each bio: only that the disk is open keeps its pool of them.
upper=upper$$
dmsetup create $upper --noudevsync --noudevrules --table "0 $DISK_SECTORS linear $(readlink "$DM_DISK") 0" || fail "dmsetup"
disk=/dev/$(dmsetup info -c --noheadings -o blkdevname $upper)
has_io() { read -r reads writes <"/sys/block/${disk#/dev/}/inflight" && [ $((reads + writes)) -gt 0 ]; }
has_none() { ! has_io; }

load() {
    anemone_load size_mib=64 local_device="$disk" disk_timeout_s=3 && put_all "$SCRATCH/random" 16 && disk_drain || fail "load"
}
# A disk that has completed no I/O for half a second keeps the module: unloading must begin before.
load
round=1
until
    from=$(anemone_seconds)
    dm_suspend && put "$SCRATCH/random" 12000 1 || fail "writing while the disk is stopped"
    rmmod anemone 2>/dev/null && has_io
do
    dm_resume || fail "resume"
    if [ -d /sys/module/anemone ]; then
        disk_wait attached 30 && disk_drain || fail "it is not used again"
    else
        load
    fi
    [ $round -lt 60 ] || fail "unloading was refused each time"
    round=$((round + 1))
done
took=$(($(anemone_seconds) - from))
[ $took -le 30 ] || fail "unloading took $took s"
nothing_left || fail "something is left"
dmesg | grep -q "its last I/O is abandoned" || fail "not logged: $(dmesg | tail)"
dmesg | grep -q "stays open until this machine restarts" || fail "not logged: $(dmesg | tail)"
say "unloaded after $took s, round $round, the disk having one of its pages"
dmsetup remove --noudevsync --noudevrules $upper 2>/dev/null && fail "the disk was removed below the I/O that it has"
dm_resume || fail "resume"
wait_for 20 "the disk completes its I/O" has_none || fail "it does not"
dd if="$disk" of=/dev/null bs=1M iflag=direct 2>/dev/null || fail "reading the disk"

# The claim on the disk is given up.
anemone_load size_mib=64 local_device="$disk" || fail "load once more"
put_all "$SCRATCH/random" 16 || fail "writing"
disk_up_to_date || fail "mirror"
same_as "$SCRATCH/random" 16 || fail "reading"
wait_for 10 "unload" anemone_unload || fail "unload"
nothing_left || fail "something is left"
# What is below it is given back. This fails, because the disk itself is still open.
dmsetup remove --force --noudevsync --noudevrules $upper 2>/dev/null
dmsetup table $upper | grep -q error || fail "it still uses $DM_DISK"
