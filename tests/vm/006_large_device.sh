#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# what: a device of 1 TiB is loaded within seconds, with a map of 1 GiB; its last pages are like the first; unloading does not wait for a walk of the whole map
# machine: segment
# vm: --servers 2 --client-mem 1536 --client-cpus 1
# bound: 120
# debug: no, it measures how much memory and time a map of 1 GiB takes, which that kernel multiplies
# shellcheck source-path=SCRIPTDIR source=common.sh disable=SC2015
. "$(dirname "$0")/common.sh"

TIB_MIB=1048576
PAGES=$((TIB_MIB * 256))
free_kib() { anemone_value MemAvailable: /proc/meminfo; }

before_kib=$(free_kib)
# Virtual machines of other runners, such as virtme-ng, may be smaller.
[ "$before_kib" -ge $((PAGES * 4 / 1024 + 131072)) ] || skip "needs 1152 MiB of free memory, and has $((before_kib / 1024))"
from=$(anemone_seconds)
anemone_load size_mib=$TIB_MIB overcommit=1 || fail "it was not loaded"
took=$(($(anemone_seconds) - from))
[ "$took" -le 30 ] || fail "loading took $took s"
[ "$(blockdev --getsize64 "$ANEMONE_DEVICE")" = $((TIB_MIB << 20)) ] || fail "the size is not 1 TiB"
used_kib=$((before_kib - $(free_kib)))
say "loaded in $took s, with $((used_kib / 1024)) MiB of memory"
[ "$used_kib" -ge $((PAGES * 4 / 1024)) ] || fail "$used_kib KiB are no map of 4 bytes a page"
[ "$used_kib" -le $((PAGES * 4 / 1024 + 65536)) ] || fail "$used_kib KiB are far more than a map of 4 bytes a page"

# The ends, the middle, and where the byte offset exceeds 32 bits. All are written before any is read.
places="0 1048574 $((PAGES / 2 - 2)) $((PAGES - 4))"
for page in $places; do
    dd if=/dev/urandom of="$SCRATCH/$page" bs=4k count=4 2>/dev/null
    dd if="$SCRATCH/$page" of="$ANEMONE_DEVICE" bs=4k seek="$page" oflag=direct conv=notrunc 2>/dev/null ||
        fail "page $page was not written"
done
for page in $places; do
    dd if="$ANEMONE_DEVICE" bs=4k skip="$page" count=4 iflag=direct 2>/dev/null | cmp - "$SCRATCH/$page" ||
        fail "page $page holds something else"
done
expect_more "pages out" 15 "$(counter pages_out)"
dd if=/dev/zero of="$ANEMONE_DEVICE" bs=4k seek="$PAGES" count=1 oflag=direct conv=notrunc 2>/dev/null &&
    fail "a page after the last was written"

# Two servers lose their pages, and both slots are swept from the whole map, which takes a second or so each.
# The worker stops sweeping when the module is unloaded.
for server in 1 2; do disturb kill $server && host start $server || fail "restart $server"; done
lost() { [ "$(dmesg | grep -c "server [0-9a-f:]*: restarted, or dropped the session; its copies are lost")" -ge 2 ]; }
wait_for 60 "both servers' pages are gone" lost || fail "$(cat "$ANEMONE_DEBUG/servers")"
grep -c ' health sweeping ' "$ANEMONE_DEBUG/servers" >"$SCRATCH/sweeping" || fail "both slots are clear already: $(cat "$ANEMONE_DEBUG/servers")"
anemone_unload || fail "it was not unloaded"
dmesg | grep "isn't complete" && fail "unloading waited for the worker, which continued"
nothing_left || fail "something is left"
