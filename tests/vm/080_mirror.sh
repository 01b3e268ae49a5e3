#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# what: pages are mirrored to the disk, merged; with both servers gone, every page is read from it
# machine: disk
# bound: 180
# kinds: cfi rt
# debug: yes
# shellcheck source-path=SCRIPTDIR source=common.sh source=disk.sh disable=SC2015
. "$(dirname "$0")/common.sh"
. "$(dirname "$0")/disk.sh"

needs_single
requires fio anemone-test
dm_linear || fail "dmsetup"
anemone_load size_mib=64 servers="$(servers 1 2)" local_device="$DM_DISK" mirror_pool_mib=24 disk_timeout_s=600 || fail "load"
disk_is attached || fail "$(cat "$ANEMONE_DEBUG/disk")"
pages=$(scaled 4096 4)
random_file "$SCRATCH/random" $((pages * 4096))
# The disk is held up meanwhile, so that its writes can be merged whatever the scheduling.
dm_suspend || fail "suspend"
put_all "$SCRATCH/random" || fail "writing"
dm_resume || fail "resume"
disk_drain || fail "mirror"
[ "$(disk_value pool_full)" = 0 ] || fail "there was no room for pages, with a pool larger than they are: $(cat "$ANEMONE_DEBUG/disk")"
[ "$(disk_value pages_written)" -ge "$pages" ] || fail "too few pages written: $(cat "$ANEMONE_DEBUG/disk")"
[ $(($(disk_value writes) * 4)) -le "$(disk_value pages_written)" ] || fail "not merged: $(cat "$ANEMONE_DEBUG/disk")"
on_disk "$SCRATCH/random" 0 "$pages" || fail "the disk holds something else"
same_as "$SCRATCH/random" || fail "with servers: $(cat "$SCRATCH/dd")"
# If a server is late, the disk is read as well.
[ "$(disk_value reads)" -le "$(counter timeouts)" ] || fail "read from the disk although servers were there: $(cat "$ANEMONE_DEBUG/disk")"

# The disk has the last of many versions of a page.
fio_verify --rw=randwrite --bs=4k --ioengine=libaio --iodepth=16 --offset=32m --size=1m --loops="$(scaled 8 4)" \
    --norandommap --randrepeat=0 || fail "fio"
disk_up_to_date || fail "mirror"
get 8192 256 >"$SCRATCH/versions" || fail "reading"
on_disk "$SCRATCH/versions" 8192 256 || fail "the disk holds an older version"

# Both servers are gone: everything is on the disk.
disturb kill 1 && disturb kill 2 || fail "kill"
same_as "$SCRATCH/random" || fail "without servers: $(cat "$SCRATCH/dd")"
get 8192 256 | cmp - "$SCRATCH/versions" || fail "without servers, later versions"
# Some of the others were never written.
[ "$(disk_value pages_read)" -ge "$((pages + 128))" ] || fail "not read from the disk: $(cat "$ANEMONE_DEBUG/disk")"
# Pages that are written now are on the disk when they are acknowledged.
put "$SCRATCH/versions" 100 256 || fail "writing without servers: $(cat "$SCRATCH/dd")"
on_disk "$SCRATCH/versions" 100 256 || fail "acknowledged, but not on the disk"
get 100 256 | cmp - "$SCRATCH/versions" || fail "written without servers"

# The servers restart empty: the device moves back to them, and loses nothing.
host start 1 && host start 2 || fail "start"
wait_for 60 "both are back" is_healthy 1 && wait_for 60 "both are back" is_healthy 2 || fail "$(cat "$ANEMONE_DEBUG/servers")"
copies=$(counter copies_out) local_out=$(counter local_out)
put "$SCRATCH/versions" 9000 256 || fail "writing with servers again"
# Each page, except those that the disk took because a server was late.
[ $(($(counter copies_out) - copies + $(counter local_out) - local_out)) -ge 256 ] && [ "$(counter copies_out)" -gt "$copies" ] || fail "the servers are not used: $(cat "$ANEMONE_DEBUG/counters")"
get 9000 256 | cmp - "$SCRATCH/versions" || fail "written with servers again"
get 100 256 | cmp - "$SCRATCH/versions" || fail "written without servers, read with"
nothing_failed || fail "some pages failed"
