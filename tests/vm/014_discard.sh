#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# what: discarded pages read as zeros at once, and the servers' space is free soon
# machine: segment
# bound: 120
# kinds: cfi rt
# debug: yes
# shellcheck source-path=SCRIPTDIR source=common.sh disable=SC2015
. "$(dirname "$0")/common.sh"

requires blkdiscard fio
anemone_load size_mib=64 servers="$(servers 1 2)" || fail "load"
free() { echo $(($(server_field 1 free_pages) + $(server_field 2 free_pages))); }
has_free() { [ "$(free)" -ge "$1" ]; }
has_less() { [ "$(free)" -le "$1" ]; }
# A page that was never written reads as zeros, and costs no frame.
zeros() { dd if="$ANEMONE_DEVICE" bs=256k count="$1" skip="${2:-0}" iflag=direct 2>/dev/null | tr -d '\0' | wc -c; }
[ "$(zeros 16)" = 0 ] || fail "what was never written is not zero"
[ "$(counter unwritten_in)" = 1024 ] || fail "$(counter unwritten_in) pages of 1024 were known to be unwritten"

before=$(free)
mib=$(scaled 8 2)
pages=$((mib * 256))
head -c $((mib << 20)) /dev/urandom >"$SCRATCH/random"
dd if="$SCRATCH/random" of="$ANEMONE_DEVICE" bs=256k oflag=direct 2>/dev/null || fail "writing"
wait_for 20 "servers that hold $pages pages twice" has_less $((before - 2 * pages)) || fail "free: $before, then $(free)"
blkdiscard -o 0 -l $((mib << 20)) "$ANEMONE_DEVICE" || fail "blkdiscard"
[ "$(zeros $((mib * 4)))" = 0 ] || fail "discarded pages are not zero"
wait_for 30 "servers that hold no page" has_free "$before" || fail "free: $before at first, now $(free)"

# Written again right after the discard: freeing the old version must not free the new one.
round=0
while [ $round -lt 8 ]; do
    blkdiscard -o 0 -l 1048576 "$ANEMONE_DEVICE" || fail "blkdiscard"
    dd if="$SCRATCH/random" of="$ANEMONE_DEVICE" bs=64k count=8 skip=$round oflag=direct 2>/dev/null || fail "writing"
    dd if="$SCRATCH/random" bs=64k count=8 skip=$round 2>/dev/null >"$SCRATCH/expected"
    dd if="$ANEMONE_DEVICE" bs=64k count=8 iflag=direct 2>/dev/null | cmp - "$SCRATCH/expected" || fail "round $round"
    [ "$(zeros 2 2)" = 0 ] || fail "round $round: what was discarded only is not zero"
    round=$((round + 1))
done
wait_for 30 "servers that hold 128 pages" has_free $((before - 256)) || fail "free: $before at first, now $(free)"
dd if="$ANEMONE_DEVICE" bs=64k count=8 iflag=direct 2>/dev/null | cmp - "$SCRATCH/expected" || fail "after all was freed"

# Discards and writes at the same time.
fio_job --rw=randtrim --bs=64k --ioengine=libaio --iodepth=4 --offset=32m --size=16m --loops=4 &
trims=$!
fio_verify --rw=randwrite --bs=4k --ioengine=libaio --iodepth=16 --size=8m || fail "writes beside discards"
wait $trims || fail "discards"
