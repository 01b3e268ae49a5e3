#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# what: the module cannot be unloaded while a disk that has just stopped has its I/O: rmmod is refused at once, whatever the disk's timeout, and succeeds when the disk answers; then nothing is left
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

# An hour: a wait for the disk would not end during the test.
load() {
    anemone_load size_mib=64 local_device="$disk" disk_timeout_s=3600 && put_all "$SCRATCH/random" 16 && disk_drain || fail "load"
}
# unload: rmmod ends, with UNLOADED, or is refused.
unload() {
    : >"$SCRATCH/rmmod"
    (rmmod anemone >"$SCRATCH/rmmod" 2>&1; echo "status $?" >>"$SCRATCH/rmmod") &
    wait_for 20 "the end of rmmod" grep -q '^status' "$SCRATCH/rmmod" || fail "rmmod waits for the disk"
    UNLOADED=
    ! grep -q '^status 0' "$SCRATCH/rmmod" || UNLOADED=yes
    [ "$UNLOADED" ] || grep -q "in use\|busy\|temporarily unavailable" "$SCRATCH/rmmod" || fail "rmmod: $(cat "$SCRATCH/rmmod")"
}

refused=0
for round in 1 2 3 4 5 6; do
    [ -d /sys/module/anemone ] || load
    dm_suspend && put "$SCRATCH/random" $((12000 + round)) 1 || fail "writing while the disk is stopped"
    # The page may not have been submitted yet.
    unload
    if [ "$UNLOADED" ]; then
        nothing_left || fail "something is left"
        has_none || fail "unloaded, and the disk has I/O"
    else
        refused=$((refused + 1))
        wait_for 20 "the disk has I/O" has_io || fail "the disk has none"
        unload
        [ -z "$UNLOADED" ] || fail "unloaded while the disk has I/O"
        # Pages are still served.
        same_as "$SCRATCH/random" 16 || fail "reading while the disk is stopped"
    fi
    dm_resume || fail "resume"
    [ -z "$UNLOADED" ] || continue
    wait_for 20 "the disk completes its I/O" has_none || fail "it does not"
done
[ $refused -gt 0 ] || fail "unloading was never refused"
say "refused in $refused rounds of 6"

[ ! -d /sys/module/anemone ] || { disk_drain && wait_for 20 "unload" anemone_unload; } || fail "unload"
nothing_left || fail "something is left"
dmsetup remove --noudevsync --noudevrules $upper || fail "the disk is held"
