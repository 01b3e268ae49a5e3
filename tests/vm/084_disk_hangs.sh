#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# what: a disk that never answers delays nothing; it is used again when it answers; unloading is refused meanwhile
# machine: disk
# bound: 180
# kinds: cfi rt
# debug: yes
# shellcheck source-path=SCRIPTDIR source=common.sh source=disk.sh disable=SC2015
. "$(dirname "$0")/common.sh"
. "$(dirname "$0")/disk.sh"

needs_single
requires anemone-test
dm_linear || fail "dmsetup"
anemone_load size_mib=64 local_device="$DM_DISK" disk_timeout_s=3 || fail "load"
random_file "$SCRATCH/random" 4194304
put_all "$SCRATCH/random" 32 || fail "writing"
disk_drain || fail "mirror"
load_begin --threads 2 --blocks 1024
load_progress "$(scaled 300)" || fail "the load does not begin"
dm_suspend || fail "suspend"
load_progress "$(scaled 600)" || fail "the load does not continue while the disk hangs"
disk_wait timed_out 20 || fail "it does not count as silent"
expect_more abandoned 0 "$(disk_value abandoned)"
load_progress "$(scaled 600)" || fail "the load does not continue without the disk"
dmesg | grep -q "local disk: no answer for 3 s" || fail "not logged: $(dmesg | tail)"
load_end || fail "the load"
# The disk may still write to the module's memory.
rmmod anemone 2>"$SCRATCH/rmmod" && fail "unloaded while the disk has our pages"
grep -q "in use\|busy\|temporarily unavailable" "$SCRATCH/rmmod" || fail "rmmod: $(cat "$SCRATCH/rmmod")"
# Without servers nothing answers: requests wait, then fail.
echo 4 >/sys/module/anemone/parameters/io_timeout_s
for server in 1 2 3; do disturb pause $server || fail "pause"; done
from=$(anemone_seconds)
put "$SCRATCH/random" 12000 1 && fail "written to nowhere"
get 8192 1 >"$SCRATCH/page" && fail "read from nowhere"
took=$(($(anemone_seconds) - from))
[ "$took" -le 60 ] || fail "two requests with an I/O timeout of 4 s took $took s"
# It answers.
dm_resume || fail "resume"
disk_wait attached 20 || fail "it is not used again"
dmesg | grep -q "local disk: answers again" || fail "not logged: $(dmesg | tail)"
same_as "$SCRATCH/random" 32 || fail "reading from the disk that has come back"
put "$SCRATCH/random" 12000 16 || fail "writing to the disk that has come back"
on_disk "$SCRATCH/random" 12000 16 || fail "not on the disk"
for server in 1 2 3; do host resume $server || fail "resume"; done
same_as "$SCRATCH/random" 32 || fail "reading"

# It stops while there is no server. A request that it delays too long fails only after the I/O timeout, and with
# a long I/O timeout not at all.
echo 60 >/sys/module/anemone/parameters/io_timeout_s
for server in 1 2 3; do disturb kill $server || fail "kill"; done
dm_suspend || fail "suspend"
put "$SCRATCH/random" 12000 16 &
writer=$!
disk_wait timed_out 20 || fail "it does not count as silent"
kill -0 $writer || fail "a page-out ended although nothing has it"
dm_resume || fail "resume"
wait $writer || fail "written when the disk answered again: $(cat "$SCRATCH/dd")"
on_disk "$SCRATCH/random" 12000 16 || fail "acknowledged, but not on the disk"

# Unloading while a disk that has just stopped still has I/O is refused; it succeeds before the disk has any.
dm_suspend || fail "suspend"
(put "$SCRATCH/random" 0 64) &
for server in 1 2 3; do host start $server || fail "start"; done
wait $! || fail "writing"
anemone_unload 2>/dev/null
dm_resume || fail "resume"
[ ! -d /sys/module/anemone ] || wait_for 20 "rmmod" anemone_unload || fail "unload"
# The disk can be used.
dd if="$DM_DISK" of=/dev/null bs=1M iflag=direct 2>/dev/null || fail "the disk"
