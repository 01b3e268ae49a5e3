#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# what: both servers die under load, the disk takes over; they restart empty and get every page from it: it can be detached
# machine: disk
# vm: --file tests/vm/repair.sh
# bound: 400
# debug: yes
# shellcheck source-path=SCRIPTDIR source=common.sh source=disk.sh source=repair.sh disable=SC2015
. "$(dirname "$0")/common.sh"
. "$(dirname "$0")/disk.sh"
. "$(dirname "$0")/repair.sh"

needs_single
requires anemonectl anemone-test
# Strict: otherwise pages that are not on the disk when both die at once would rightly be lost.
anemone_load size_mib=64 servers="$(servers 1 2)" local_device="$ANEMONE_DISK" mirror=strict || fail "load"
data_write "$(scaled 8 4)" || fail "write"
load_begin --threads 2 --blocks "$(scaled 512 4)"
load_progress "$(scaled 200)" || fail "the load does not begin"
disk_up_to_date 60 || fail "pages lag"
disturb kill 1 && disturb kill 2 || fail "kill"
load_progress "$(scaled 200)" 90 || fail "the load does not continue with the disk alone"
# Pages that no server has ever had.
pages=$(scaled 1024 4)
random_file "$SCRATCH/random" $((pages * 4096))
put_all "$SCRATCH/random" 48 || fail "writing with the disk alone"
data_is_right || fail "the data is not what was written, without servers"

host start 1 && host start 2 || fail "start"
for server in 1 2; do
    wait_for 60 "server $server is used" is_healthy $server || fail "$(cat "$ANEMONE_DEBUG/servers")"
done
# Beside a load repair copies four pages at a time, and none that a request wants. How long all takes depends
# on the machine: on one whose speed varied by a factor of two it once had copied 14,283 of 16,400 pages after
# 120 s and was still copying, and a limit on the time was taken for a fault. So the test requires only that
# repair continues until nothing is left.
repaired 60 || fail "not copied back"
[ "$(counter pages_repaired)" -ge $((2 * pages)) ] || fail "too few pages copied: $(cat "$ANEMONE_DEBUG/counters")"
load_progress "$(scaled 200)" || fail "the load does not continue with servers again"
disk_up_to_date 60 || fail "pages lag"
# On a busy machine a page may be only on the disk until it is copied.
wait_moving 30 "the disk detached" copying anemonectl detach || fail "detach: $(anemonectl status)"
disk_is none || fail "$(cat "$ANEMONE_DEBUG/disk")"
data_is_right || fail "the data is not what was written, without the disk"
same_as "$SCRATCH/random" 48 || fail "written with the disk alone, read without it: $(cat "$SCRATCH/dd")"
load_progress "$(scaled 200)" || fail "the load does not continue without the disk"
# Each server has every page.
kill_copied 1 || fail "kill"
data_is_right || fail "the data is not what was written, with server 2 alone"
same_as "$SCRATCH/random" 48 || fail "with server 2 alone: $(cat "$SCRATCH/dd")"
load_end || fail "the load"
nothing_failed || fail "some pages failed"
