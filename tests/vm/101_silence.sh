#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# what: with every server gone, swapoff, the programs that probe a device, and reading many pages take one I/O timeout together, until one answers
# machine: segment
# bound: 240
# debug: yes
# shellcheck source-path=SCRIPTDIR source=common.sh disable=SC2015
. "$(dirname "$0")/common.sh"
requires anemone-test

IO_TIMEOUT_S=6
MANY=200
anemone_load size_mib=64 servers="$(servers 1 2)" io_timeout_s=$IO_TIMEOUT_S || fail "load"
head -c $((MANY * 4096)) /dev/urandom >"$SCRATCH/random"
dd if="$SCRATCH/random" of="$ANEMONE_DEVICE" bs=4k oflag=direct 2>/dev/null || fail "writing"
disturb pause 1 && disturb pause 2 || fail "pause"
# Each by itself would take MANY I/O timeouts.
from=$(anemone_seconds)
page=0 failed=0
while [ $page -lt $MANY ]; do
    dd if="$ANEMONE_DEVICE" of=/dev/null bs=4k count=1 skip=$page iflag=direct 2>/dev/null || failed=$((failed + 1))
    page=$((page + 1))
done
for page in 0 1 2 3 4 5 6 7; do
    dd if="$SCRATCH/random" of="$ANEMONE_DEVICE" bs=4k count=1 seek=$((4096 + page)) oflag=direct conv=notrunc 2>/dev/null && fail "written without servers"
done
# probe COMMAND...: it tries to read the device.
probe() {
    command -v "$1" >/dev/null || { say "there is no $1"; return; }
    before=$(counter pages_in_failed)
    "$@" "$ANEMONE_DEVICE" >"$SCRATCH/probe" 2>&1
    expect_more "pages that $1 could not read" "$before" "$(counter pages_in_failed)"
}
probe blkid -p
probe wipefs --no-act
probe swaplabel
probe fdisk -l
sync
took=$(($(anemone_seconds) - from))
say "$MANY reads, 8 writes and probes of a device without servers: $took s, $failed errors"
[ $failed -eq $MANY ] || fail "$failed of $MANY pages could not be read"
[ $took -ge $((IO_TIMEOUT_S - 1)) ] || fail "it was not waited for $IO_TIMEOUT_S s"
# Time is under test: at most a tenth of the I/O timeouts that there would be. The rest is the time that it takes
# to start so many programs.
[ $took -le $((MANY * IO_TIMEOUT_S / 10)) ] || fail "$took s for what should wait for $IO_TIMEOUT_S s together"
dmesg | grep -q "anemone: no server has answered for $IO_TIMEOUT_S s" || fail "it is not logged: $(dmesg | tail)"
host resume 1 && host resume 2 || fail "resume"
wait_for 30 "both are back" is_healthy 1 && wait_for 30 "both are back" is_healthy 2 || fail "$(cat "$ANEMONE_DEBUG/servers")"
dd if="$ANEMONE_DEVICE" bs=4k count=$MANY iflag=direct 2>/dev/null | cmp - "$SCRATCH/random" || fail "after their return"
dmesg | grep -q "anemone: a server answers again" || fail "it is not logged: $(dmesg | tail)"

# A program's memory, and swapoff.
anemone_swapon || fail "swapon"
# With less memory than it has: pages that were only written may still be in the swap cache.
within 4 anemone-test dirty --mib "$(scaled 16 2)" --hold "$SCRATCH/hold" >"$SCRATCH/dirty" 2>&1 &
program=$!
wait_for 60 "a program that is paged out" test -e "$SCRATCH/hold" || fail "$(cat "$SCRATCH/dirty")"
disturb pause 1 && disturb pause 2 || fail "pause"
failed=$(counter pages_in_failed) from=$(anemone_seconds)
swapoff "$ANEMONE_DEVICE" 2>"$SCRATCH/error"
say "swapoff without servers: $(($(anemone_seconds) - from)) s, $(($(counter pages_in_failed) - failed)) errors: $(cat "$SCRATCH/error")"
[ $(($(anemone_seconds) - from)) -le $((5 * IO_TIMEOUT_S)) ] || fail "swapoff took $(($(anemone_seconds) - from)) s"
expect_more "pages that could not be read" "$failed" "$(counter pages_in_failed)"
echo 1 >/sys/fs/cgroup/test/cgroup.kill
wait $program
host resume 1 && host resume 2 || fail "resume"
wait_for 30 "both are back" is_healthy 1 && wait_for 30 "both are back" is_healthy 2 || fail "$(cat "$ANEMONE_DEBUG/servers")"
grep -q "^$ANEMONE_DEVICE " /proc/swaps && { swapoff "$ANEMONE_DEVICE" || fail "swapoff with servers"; }
anemone_unload || fail "unload"
