#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# what: one in ten of the disk's requests fails, more than a thousand: no page-out fails for that, and in the end all pages are there
# machine: disk
# bound: 300
# debug: yes
# shellcheck source-path=SCRIPTDIR source=common.sh source=disk.sh disable=SC2015
. "$(dirname "$0")/common.sh"
. "$(dirname "$0")/disk.sh"

requires anemone-test
FAIL=/sys/kernel/debug/fail_make_request
[ -d "$FAIL" ] || skip "needs a kernel with fault injection"
FAIL_DISK=/sys/class/block/$(basename "$ANEMONE_DISK")/make-it-fail

# inject PERCENT: this part of the disk's requests fail.
inject() {
    echo N >"$FAIL/task-filter" && echo 0 >"$FAIL/verbose" && echo 1 >"$FAIL/interval" && echo -1 >"$FAIL/times" &&
        echo "$1" >"$FAIL/probability"
}

anemone_load size_mib=32 local_device="$ANEMONE_DISK" || fail "load"
echo 1 >"$FAIL_DISK" && inject 10 || fail "fault injection"
# A kernel with checks takes minutes: what is judged is that the errors go on.
has_more() { [ "$(disk_value errors)" -gt "$errors" ]; }
load_begin --blocks 2048 --threads 4
while errors=$(disk_value errors) && [ "$errors" -lt 1000 ]; do
    wait_for 60 "more errors of the disk than $errors" has_more || fail "too few errors: $(cat "$ANEMONE_DEBUG/disk")"
done
disk_is attached || fail "it is not used any more: $(cat "$ANEMONE_DEBUG/disk")"
load_end || fail "data was wrong while requests failed"
nothing_failed || fail "some pages failed"

# While the disk fails, a page cannot be expected on it. When it no longer fails, it can.
random_file "$SCRATCH/random" 4194304
put_all "$SCRATCH/random" 16 || fail "writing while requests fail"
inject 0 && disk_up_to_date 120 || fail "the disk is not brought up to date"
for server in 1 2 3; do disturb kill $server || fail "kill"; done
same_as "$SCRATCH/random" 16 || fail "reading from the disk"
# Now only the disk is left. A request that fails once is retried.
inject 3 || fail "fault injection"
same_as "$SCRATCH/random" 16 || fail "reading from the disk while requests fail"
put_all "$SCRATCH/random" 24 && same_as "$SCRATCH/random" 24 || fail "writing to the disk while requests fail"
inject 0
nothing_failed || fail "some pages failed"
