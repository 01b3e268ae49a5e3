#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# what: a processor goes offline while requests that it submitted are unanswered, and comes back; nothing is lost
# machine: segment
# bound: 120
# debug: yes
# kinds: cfi rt
# shellcheck source-path=SCRIPTDIR source=common.sh disable=SC2015
. "$(dirname "$0")/common.sh"

needs_single
requires taskset
cpu=/sys/devices/system/cpu/cpu1/online
[ -e $cpu ] || fail "processor 1 cannot be taken offline"
back_online() {
    back_status=$?
    echo 1 >$cpu
    common_end $back_status
}
trap back_online EXIT
anemone_load size_mib=64 io_timeout_s=60 || fail "load"
[ "$(find /sys/block/anemone/mq -mindepth 1 -maxdepth 1 -type d | wc -l)" -eq 2 ] || fail "not a queue for each processor"
head -c 262144 /dev/urandom >"$SCRATCH/old"
head -c 262144 /dev/urandom >"$SCRATCH/new"
dd if="$SCRATCH/old" of="$ANEMONE_DEVICE" bs=4k oflag=direct conv=notrunc 2>/dev/null || fail "writing"

for server in 1 2 3; do disturb pause $server || fail "pause"; done
taskset 2 dd if="$SCRATCH/new" of="$ANEMONE_DEVICE" bs=4k seek=8192 oflag=direct conv=notrunc 2>/dev/null &
writer=$!
taskset 2 dd if="$ANEMONE_DEVICE" of="$SCRATCH/read" bs=64k count=4 iflag=direct 2>/dev/null &
reader=$!
are_waiting() { [ "$(counter in_flight)" -ge 2 ]; }
wait_for 20 "a page-out and a page-in are under way" are_waiting || fail "in flight: $(counter in_flight)"
from=$(anemone_seconds)
echo 0 >$cpu || fail "it does not go offline"
took=$(($(anemone_seconds) - from))
# If going offline had waited for them, they would have ended, after the I/O timeout.
kill -0 $writer && kill -0 $reader || fail "the requests have ended after $took s"
# It takes less than a second on an idle machine. The next wrong time is the I/O timeout.
[ $took -le 15 ] || fail "it went offline after $took s, with an I/O timeout of 60 s"
[ "$(cat $cpu)" = 0 ] || fail "it is online"
say "offline after $took s"
for server in 1 2 3; do host resume $server || fail "resume"; done
wait $writer || fail "writing"
wait $reader || fail "reading"
cmp "$SCRATCH/read" "$SCRATCH/old" || fail "what was read"
fio_verify --rw=randrw --bs=4k --size=8m --iodepth=8 --ioengine=libaio || fail "with one processor"
echo 1 >$cpu || fail "it does not come back"

# Under load, off and on.
load_begin --threads 4 --blocks 1024
round=0
while [ $round -lt 4 ]; do
    echo 0 >$cpu || fail "offline in round $round"
    load_progress "$(scaled 300)" || fail "the load does not continue with one processor"
    echo 1 >$cpu || fail "online in round $round"
    load_progress "$(scaled 300)" || fail "the load does not continue with both"
    round=$((round + 1))
done
load_end || fail "the load"
dd if="$ANEMONE_DEVICE" bs=4k skip=8192 count=64 iflag=direct 2>/dev/null | cmp - "$SCRATCH/new" || fail "what was written"
nothing_failed || fail "requests have failed"
