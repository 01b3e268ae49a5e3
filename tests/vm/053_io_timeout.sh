#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# what: without any server a request waits for the I/O timeout, then fails; lost pages are errors, never zeros
# machine: segment
# bound: 180
# debug: yes
# shellcheck source-path=SCRIPTDIR source=common.sh disable=SC2015
. "$(dirname "$0")/common.sh"

anemone_load size_mib=64 servers="$(servers 1 2)" io_timeout_s=4 || fail "load"
head -c 1048576 /dev/urandom >"$SCRATCH/random"
put() { dd if="$SCRATCH/random" of="$ANEMONE_DEVICE" bs=4k count="$1" seek="${2:-0}" oflag=direct 2>"$SCRATCH/error"; }
get() { dd if="$ANEMONE_DEVICE" bs=4k count="$1" skip="${2:-0}" iflag=direct 2>"$SCRATCH/error"; }
put 256 || fail "writing"
disturb pause 1 && disturb pause 2 || fail "pause"
from=$(anemone_seconds)
get 1 >"$SCRATCH/back" && fail "read without servers"
grep -qi "i.*o error\|input/output error" "$SCRATCH/error" || fail "reading: $(cat "$SCRATCH/error")"
put 1 300 && fail "written without servers"
took=$(($(anemone_seconds) - from))
# Together: the second request comes when no server has answered for as long.
[ "$took" -ge 3 ] && [ "$took" -le 20 ] || fail "two requests with an I/O timeout of 4 s took $took s"
# The timeout changes at run time, for a request that already waits. Servers that have been silent for long
# would make it fail at once, so they must answer first.
IO_TIMEOUT=/sys/module/anemone/parameters/io_timeout_s
both_up() { host resume 1 && host resume 2 && wait_for 30 "both are back" is_healthy 1 && wait_for 30 "both are back" is_healthy 2; }
both_up || fail "$(cat "$ANEMONE_DEBUG/servers")"
echo 600 >$IO_TIMEOUT || fail "io_timeout_s"
put 256 || fail "writing once more"
disturb pause 1 && disturb pause 2 || fail "pause"
from=$(anemone_seconds)
get 1 >"$SCRATCH/back" &
READ=$!
read_is_over() { ! kill -0 "$READ" 2>/dev/null; }
later_than() { [ "$(anemone_seconds)" -gt "$1" ]; }
# The timeout of the load is over for both.
wait_for 60 "the old I/O timeout is over" later_than $((from + 8))
! read_is_over || fail "with an I/O timeout of 600 s a read ended after $(($(anemone_seconds) - from)) s"
echo 1 >$IO_TIMEOUT || fail "io_timeout_s"
wait_for 60 "the read's end, with an I/O timeout of 1 s" read_is_over || fail "it waits on: $(cat "$ANEMONE_DEBUG/servers")"
wait "$READ" && fail "read without servers"
expect_more pages_in_failed 1 "$(counter pages_in_failed)"
expect_more pages_out_failed 0 "$(counter pages_out_failed)"
echo 30 >$IO_TIMEOUT || fail "io_timeout_s"
# The servers were only unreachable: all pages are there.
both_up || fail "$(cat "$ANEMONE_DEBUG/servers")"
get 256 | cmp - "$SCRATCH/random" || fail "after their return"
# Suspending: a program that waits for a page cannot be frozen, and the kernel gives up. After the I/O timeout
# it works. The machine is woken a second after all is frozen.
if [ -e /sys/power/pm_test ]; then
    echo 600 >/sys/module/anemone/parameters/io_timeout_s && disturb pause 1 && disturb pause 2 || fail "pause"
    (get 1 >/dev/null) & reader=$!
    is_waiting() { ! idle; }
    wait_for 10 "a reader waits" is_waiting || fail "nothing waits"
    timeout=$(cat /sys/power/pm_freeze_timeout)
    echo 2000 >/sys/power/pm_freeze_timeout && echo 1 >/sys/module/suspend/parameters/pm_test_delay &&
        echo freezer >/sys/power/pm_test || fail "pm_test"
    dmesg -c >/dev/null
    echo freeze >/sys/power/state 2>/dev/null && fail "frozen although a program waits for a page"
    dmesg | grep -q 'Freezing user space processes failed after' || fail "not frozen for another reason: $(dmesg | tail -n 20)"
    # The log has the stacks of what was not frozen.
    dmesg -c >/dev/null
    kill -0 $reader && ! idle || fail "the page was given up"
    echo 1 >/sys/module/anemone/parameters/io_timeout_s && ! wait $reader || fail "read without servers"
    echo freeze >/sys/power/state || fail "not frozen with the I/O timeout out: $(dmesg | tail -n 20)"
    echo none >/sys/power/pm_test && echo "$timeout" >/sys/power/pm_freeze_timeout || fail "pm_test"
    echo 30 >/sys/module/anemone/parameters/io_timeout_s && host resume 1 && host resume 2 || fail "resume"
    wait_for 30 "both are back" is_healthy 1 && wait_for 30 "both are back" is_healthy 2 || fail "$(cat "$ANEMONE_DEBUG/servers")"
fi
# A page-out that failed leaves nothing, or the new page, or an error.
if get 1 300 >"$SCRATCH/back"; then
    head -c 4096 "$SCRATCH/random" | cmp -s - "$SCRATCH/back" || [ "$(tr -d '\0' <"$SCRATCH/back" | wc -c)" = 0 ] ||
        fail "a page-out that failed left something else than the old or the new page"
fi

# Now the servers restart empty.
disturb kill 1 && disturb kill 2 && host start 1 && host start 2 || fail "restart"
wait_for 30 "both are back" is_healthy 1 && wait_for 30 "both are back" is_healthy 2 || fail "$(cat "$ANEMONE_DEBUG/servers")"
from=$(anemone_seconds)
get 1 >"$SCRATCH/back" && fail "a page whose copies are all gone was read"
took=$(($(anemone_seconds) - from))
[ "$took" -le 10 ] || fail "every copy is known to be gone, and still the request waited $took s"
get 1 1000 >"$SCRATCH/back" || fail "a page never written is an error"
put 128 || fail "writing once more"
head -c 524288 "$SCRATCH/random" >"$SCRATCH/half"
get 128 | cmp -s - "$SCRATCH/half" || fail "written once more"
get 1 200 >"$SCRATCH/back" && fail "a lost page that was not written again was read"

# If merged requests fail, only lost pages fail. In the second half every other page is written again.
batches() { fio_job --ioengine=libaio --bs=4k --offset=512k --size=512k --iodepth=8 --iodepth_batch_submit=8 --iodepth_batch_complete_min=8 "$@"; }
merged() { awk '{ print $2 }' "/sys/block/${ANEMONE_DEVICE##*/}/stat"; }
fio_job --rw=write:4k --bs=4k --ioengine=psync --offset=512k --size=512k --io_size=256k || fail "writing every other page"
before=$(merged) failed_before=$(counter pages_in_failed)
batches --rw=read --continue_on_error=read --error_dump=0 --output-format=json || true
[ "$(merged)" -ge $((before + 64)) ] || fail "the reads were not merged: $before, then $(merged)"
[ "$(($(counter pages_in_failed) - failed_before))" = 64 ] || fail "64 pages are lost, $(($(counter pages_in_failed) - failed_before)) failed"
errors=$(sed -n 's/.*"total_err" : \([0-9]*\).*/\1/p' "$SCRATCH/fio")
[ "$errors" = 64 ] || fail "of 128 reads, 64 of them of pages that are lost, $errors failed: $(cat "$SCRATCH/fio")"

# By force: otherwise it reads first, to see what it would destroy.
blkdiscard -f -o 0 -l 1048576 "$ANEMONE_DEVICE" || fail "blkdiscard"
[ "$(get 256 | tr -d '\0' | wc -c)" = 0 ] || fail "what was lost and then discarded is not zero"
