#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# what: errors of the disk fail no page that servers hold; it becomes faulty, and is re-added on command
# machine: disk
# bound: 180
# debug: yes
# shellcheck source-path=SCRIPTDIR source=common.sh source=disk.sh disable=SC2015
. "$(dirname "$0")/common.sh"
. "$(dirname "$0")/disk.sh"

needs_single
requires anemone-test anemonectl
modprobe dm-flakey || fail "no dm-flakey"
dm_linear || fail "dmsetup"
anemone_load size_mib=64 local_device="$DM_DISK" || fail "load"
random_file "$SCRATCH/random" 4194304
put_all "$SCRATCH/random" 32 || fail "writing"
disk_drain || fail "mirror"
load_begin --threads 2 --blocks 1024
load_progress "$(scaled 300)" || fail "the load does not begin"

has_errors() { [ "$(disk_value errors)" -gt 0 ]; }
# Errors for one second of every two.
dm "flakey $ANEMONE_DISK 0 1 1" || fail "dmsetup"
load_progress "$(scaled 600)" || fail "the load does not continue with a flaky disk"
wait_for 30 "errors" has_errors || fail "the disk had no error: $(cat "$ANEMONE_DEBUG/disk")"
# Errors only.
dm_error || fail "dmsetup"
disk_wait faulty 30 || fail "it is not faulty"
dmesg | grep -q "local disk: faulty" || fail "not logged: $(dmesg | tail)"
load_progress "$(scaled 600)" || fail "the load does not continue without the disk"
# It is not written to. Its errors may rise all the same, which an earlier test took for writes: a page-in
# whose servers are late reads the disk as well, because its old contents are still there. So the test counts
# writes, those of the kernel too, while servers are late.
dm_writes() { awk '{ print $5 }' "/sys/class/block/$(basename "$(readlink -f "$DM_DISK")")/stat"; }
writes=$(disk_value writes) seen=$(dm_writes) errors=$(disk_value errors)
for server in 1 2 3; do netem $server delay 400ms || fail "netem"; done
get 8192 64 | cmp -n 262144 - "$SCRATCH/random" || fail "reading from servers that are late"
for server in 1 2 3; do netem_off $server || fail "netem"; done
load_progress "$(scaled 300)" || fail "the load does not continue without the disk"
expect_more "errors of the disk, asked by late page-ins," "$errors" "$(disk_value errors)"
[ "$(disk_value writes)/$(dm_writes)" = "$writes/$seen" ] || fail "it is still written to: $(cat "$ANEMONE_DEBUG/disk")"

# A server dies while the disk has only errors.
disturb kill 1 || fail "kill"
load_progress "$(scaled 300)" || fail "the load does not continue without server 1"
host start 1 || fail "start"

# Re-added on command only.
dm_linear || fail "dmsetup"
load_progress "$(scaled 100)" || fail "the load"
disk_is faulty || fail "it came back by itself"
anemonectl attach "$DM_DISK" || fail "attach"
disk_is attached || fail "it is not used again: $(cat "$ANEMONE_DEBUG/disk")"
written=$(disk_value pages_written)
load_progress "$(scaled 300)" || fail "the load does not continue with the disk"
expect_more pages_written "$written" "$(disk_value pages_written)"
load_end || fail "the load"
same_as "$SCRATCH/random" 32 || fail "reading"
nothing_failed || fail "some pages failed"
disk_drain || fail "mirror"
# A page that cannot be read from the disk is an error if all its copies are gone.
for server in 1 2 3; do disturb kill $server || fail "kill"; done
same_as "$SCRATCH/random" 32 || fail "reading from the disk"
dm_error || fail "dmsetup"
echo 4 >/sys/module/anemone/parameters/io_timeout_s
get 8192 1 >"$SCRATCH/page" && fail "read from a disk that has only errors"
put "$SCRATCH/random" 12000 1 && fail "written to a disk that has only errors"
dm_linear || fail "dmsetup"
anemonectl attach "$DM_DISK" || fail "attach"
same_as "$SCRATCH/random" 32 || fail "reading once more"
