#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# what: a disk is attached and detached again and again under load; not when it has the only copies, but by force
# vm: --single --servers 3 --server-mem 96 --client-mem 224 --client-cpus 2 --disk 96 --file tests/vm/common.sh --file tests/vm/disk.sh --file tests/vm/repair.sh --file build/anemone-test
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
    load_progress "$(scaled 100)" || fail "the load does not go on with the disk"
    # On a busy machine a page may be on the disk only, until it is written again.
    wait_moving 30 "the disk detached" copying anemonectl detach || fail "detach, round $round: $(cat "$ANEMONE_DEBUG/disk")"
    disk_is none || fail "$(cat "$ANEMONE_DEBUG/disk")"
    load_progress "$(scaled 100)" || fail "the load does not go on without the disk"
done
anemonectl attach "$ANEMONE_DISK" || fail "attach"
load_progress "$(scaled 100)" || fail "the load does not go on with the disk"
load_end || fail "the load"
nothing_failed || fail "some pages failed"

# The only copies, and nobody makes others: detaching would lose them.
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
disk_is usable || fail "after a refusal: $(cat "$ANEMONE_DEBUG/disk")"
same_as "$SCRATCH/random" || fail "reading after a refusal"
echo 3 >/sys/module/anemone/parameters/patience_s
anemonectl detach --force || fail "detach --force"
get 0 1 >"$SCRATCH/page" && fail "read although it is lost"
put_all "$SCRATCH/random" || fail "writing"
same_as "$SCRATCH/random" || fail "written once more"
