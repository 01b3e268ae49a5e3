#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# what: thousands of atomic allocations fail, everywhere in the kernel: no page is lost, nothing hangs
# machine: segment
# bound: 300
# debug: yes
# shellcheck source-path=SCRIPTDIR source=common.sh disable=SC2015
. "$(dirname "$0")/common.sh"

requires anemone-test
SLAB=/sys/kernel/debug/failslab PAGES=/sys/kernel/debug/fail_page_alloc
[ -d "$SLAB" ] && [ -d "$PAGES" ] || skip "needs a kernel with fault injection"

# inject DIRECTORY PERCENT TIMES: this part of the allocations that may not sleep fail, TIMES at most.
inject() {
    echo N >"$1/task-filter" && echo Y >"$1/ignore-gfp-wait" && echo 0 >"$1/verbose" && echo 1 >"$1/interval" &&
        echo "$3" >"$1/times" && echo "$2" >"$1/probability"
}
injected() { echo $(($2 - $(cat "$1/times"))); }

anemone_load size_mib=32 min_copies=2 || fail "load"
echo 0 >"$PAGES/min-order"
inject "$SLAB" 10 100000 && inject "$PAGES" 10 100000 || fail "fault injection"
load_begin --blocks 2048 --threads 4
load_progress "$(scaled 20000 10)" 200 || fail "no progress while allocations fail"
load_end || fail "data was wrong while allocations failed"
failed=$(($(injected "$SLAB" 100000) + $(injected "$PAGES" 100000)))
inject "$SLAB" 0 0 && inject "$PAGES" 0 0
say "$failed allocations failed"
expect_more "failed allocations" 1000 "$failed"
wait_for 20 "nothing in flight" idle || fail "requests are in flight"
nothing_failed || fail "some pages failed"
# A caller whose allocation failed may have logged that, with a trace.
dmesg -c | sed '/page allocation failure/,/Mem-Info/d' >"$SCRATCH/log"
grep -E 'WARNING:|BUG:|Oops|KASAN:|INFO: |hung task|refcount_t|ODEBUG|panicked' "$SCRATCH/log" && fail "the kernel's log is not clean"
true
