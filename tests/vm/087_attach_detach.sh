#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# what: a disk is attached and detached repeatedly under load; with the only copies it is detached only by force; neither opening nor closing it blocks without a bound
# machine: disk
# vm: --file tests/vm/repair.sh
# bound: 180
# debug: yes
# shellcheck source-path=SCRIPTDIR source=common.sh source=disk.sh source=repair.sh disable=SC2015
. "$(dirname "$0")/common.sh"
. "$(dirname "$0")/disk.sh"
. "$(dirname "$0")/repair.sh"

needs_single
requires anemonectl anemone-test
anemone_load size_mib=64 || fail "load"
load_begin --threads 2 --blocks 1024
for round in 1 2 3 4 5 6; do
    anemonectl attach "$ANEMONE_DISK" || fail "attach, round $round"
    load_progress "$(scaled 100)" || fail "the load does not continue with the disk"
    # On a busy machine a page may be only on the disk until it is written again.
    wait_moving 30 "the disk detached" copying anemonectl detach || fail "detach, round $round: $(cat "$ANEMONE_DEBUG/disk")"
    disk_is none || fail "$(cat "$ANEMONE_DEBUG/disk")"
    load_progress "$(scaled 100)" || fail "the load does not continue without the disk"
done
anemonectl attach "$ANEMONE_DISK" || fail "attach"
load_progress "$(scaled 100)" || fail "the load does not continue with the disk"
load_end || fail "the load"
nothing_failed || fail "some pages failed"

# The only copies, and no repair makes others: detaching would lose them.
echo 0 >/sys/module/anemone/parameters/repair_pages_per_s || fail "repair_pages_per_s"
random_file "$SCRATCH/random" 1048576
put_all "$SCRATCH/random" || fail "writing"
disk_drain || fail "mirror"
for server in 1 2 3; do disturb kill $server && host start $server || fail "restart"; done
for server in 1 2 3; do
    wait_for 60 "server $server is back" is_healthy $server || fail "$(cat "$ANEMONE_DEBUG/servers")"
done
same_as "$SCRATCH/random" || fail "reading from the disk"
anemonectl detach 2>"$SCRATCH/refused" && fail "detached, and pages are lost"
grep -q "only copy" "$SCRATCH/refused" || fail "refused with: $(cat "$SCRATCH/refused")"
disk_is attached || fail "after a refusal: $(cat "$ANEMONE_DEBUG/disk")"
same_as "$SCRATCH/random" || fail "reading after a refusal"
echo 3 >/sys/module/anemone/parameters/io_timeout_s
anemonectl detach --force || fail "detach --force"
get 0 1 >"$SCRATCH/page" && fail "read although it is lost"
put_all "$SCRATCH/random" || fail "writing"
same_as "$SCRATCH/random" || fail "written once more"

# Closing waits for data that others wrote to the disk's cache if they no longer have it open. With a disk that
# does not answer, this takes as long. It continues after detach has returned, and keeps the module loaded.
echo 60 >/sys/module/anemone/parameters/io_timeout_s
echo 10000 >/sys/module/anemone/parameters/repair_pages_per_s
dm_linear || fail "dmsetup"
anemonectl attach "$DM_DISK" || fail "attach what can be suspended"
disk_up_to_date || fail "mirror"
dm_suspend || fail "suspend"
dd if="$SCRATCH/random" of="$DM_DISK" bs=4k count=4 seek=20000 conv=notrunc 2>"$SCRATCH/dd" || fail "writing to the cache: $(cat "$SCRATCH/dd")"
(anemonectl detach >"$SCRATCH/detach" 2>&1; echo "status $?" >>"$SCRATCH/detach") &
detached() { grep -q "^status" "$SCRATCH/detach"; }
wait_for 60 "the end of detach" detached || fail "it waits for the disk to be closed: $(cat "$ANEMONE_DEBUG/disk")"
grep -q "^status 0" "$SCRATCH/detach" || fail "detach: $(cat "$SCRATCH/detach")"
disk_is none || fail "detached: $(cat "$ANEMONE_DEBUG/disk")"
dmesg | grep -q "still being closed" || fail "not logged: $(dmesg | tail)"
rmmod anemone 2>"$SCRATCH/rmmod" && fail "unloaded while the disk is being closed"
grep -q "in use\|busy\|temporarily unavailable" "$SCRATCH/rmmod" || fail "rmmod: $(cat "$SCRATCH/rmmod")"
put_all "$SCRATCH/random" || fail "writing without a disk"
dm_resume || fail "resume"
closed() { dmesg | grep -q "block device [0-9:]*: closed"; }
wait_for 20 "the disk is closed" closed || fail "not closed: $(dmesg | tail)"
anemonectl attach "$DM_DISK" || fail "attach once more"
disk_up_to_date || fail "mirror"
anemonectl detach || fail "detach"
same_as "$SCRATCH/random" || fail "reading"
wait_for 20 "rmmod" anemone_unload || fail "unload"
nothing_left || fail "something is left"

# Unloading with the disk attached does not wait for that: the kernel closes the disk later.
anemone_load size_mib=64 local_device="$DM_DISK" || fail "load"
disk_up_to_date || fail "mirror"
dm_suspend || fail "suspend"
dd if="$SCRATCH/random" of="$DM_DISK" bs=4k count=4 seek=20000 conv=notrunc 2>"$SCRATCH/dd" || fail "writing to the cache: $(cat "$SCRATCH/dd")"
(anemone_unload >"$SCRATCH/rmmod" 2>&1; echo "status $?" >>"$SCRATCH/rmmod") &
unloaded() { grep -q "^status" "$SCRATCH/rmmod"; }
wait_for 30 "the end of rmmod" unloaded || fail "it waits for the disk to be closed"
grep -q "^status 0" "$SCRATCH/rmmod" || fail "rmmod: $(cat "$SCRATCH/rmmod")"
nothing_left || fail "something is left"
is_open() { [ "$(dmsetup info -c --noheadings -o open "$DM")" -gt 0 ]; }
is_open || fail "the disk is closed: nothing was to be waited for"
dm_resume || fail "resume"
is_closed() { ! is_open; }
wait_for 20 "the disk is closed" is_closed || fail "it is held"
# The data in the cache has reached the disk.
dd if="$ANEMONE_DISK" bs=4k skip=20000 count=4 iflag=direct 2>/dev/null | cmp -n 16384 - "$SCRATCH/random" || fail "not on the disk"

# Opening waits for other openers, for as long as they take. Attach gives up after a moment.
loop=$(losetup -P --show --direct-io=on -f "$DM_DISK") || fail "no loop device"
anemone_load size_mib=64 || fail "load"
dm_suspend || fail "suspend"
blockdev --rereadpt "$loop" &
scanning=$!
is_scanned() { [ "$(awk '{ print $1 }' "/sys/block/${loop#/dev/}/inflight")" -gt 0 ]; }
wait_for 20 "partitions are looked for" is_scanned || fail "nothing is"
for round in 1 2; do
    dmesg -c >/dev/null
    (anemonectl attach "$loop" >"$SCRATCH/attach" 2>&1; echo "status $?" >>"$SCRATCH/attach") &
    attached() { grep -q "^status" "$SCRATCH/attach"; }
    wait_for 30 "the end of attach" attached || fail "it waits for the disk to be opened"
    grep -q "^status 0" "$SCRATCH/attach" && fail "attached what cannot be read"
    dmesg | grep -q "$loop cannot be attached: a disk is still being opened" || fail "round $round, not logged: $(dmesg; cat "$SCRATCH/attach")"
    disk_is none || fail "$(cat "$ANEMONE_DEBUG/disk")"
done
anemone_unload 2>"$SCRATCH/rmmod" && fail "unloaded while a disk is being opened"
grep -q "in use\|busy\|temporarily unavailable" "$SCRATCH/rmmod" || fail "rmmod: $(cat "$SCRATCH/rmmod")"
put_all "$SCRATCH/random" || fail "writing without a disk"
dm_resume || fail "resume"
wait $scanning || fail "blockdev"
was_late() { dmesg | grep -q ": opened too late"; }
wait_for 20 "the disk is closed" was_late || fail "not logged: $(dmesg)"
anemonectl attach "$loop" || fail "attach what can be opened"
disk_up_to_date || fail "mirror"
wait_for 30 "the disk detached" anemonectl detach || fail "detach"
same_as "$SCRATCH/random" || fail "reading"
wait_for 20 "rmmod" anemone_unload || fail "unload"
losetup -d "$loop" || fail "the loop device is held"
