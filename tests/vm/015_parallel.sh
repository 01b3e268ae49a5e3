#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# what: several programs at once: fio, direct I/O, and two that are swapped out
# machine: segment
# bound: 180
# debug: yes
# shellcheck source-path=SCRIPTDIR source=common.sh disable=SC2015
. "$(dirname "$0")/common.sh"

requires fio anemone-test
# Raw I/O and swap do not share a device. The same module takes both in turn, each in parallel.
anemone_load size_mib=64 || fail "load"
for part in 0 1 2; do
    fio --name=part$part --filename="$ANEMONE_DEVICE" --direct=1 --ioengine=io_uring --iodepth=8 --rw=randwrite --bs=4k \
        --offset=$((24 + part * 12))m --size="$(scaled 4 2)m" --verify=crc32c --verify_fatal=1 --randseed=$part \
        --output="$SCRATCH/part$part" >/dev/null 2>&1 &
    eval "part$part=$!"
done
anemone-test direct --threads 4 --blocks 1024 --operations "$(scaled 100)" || fail "direct"
for part in 0 1 2; do
    eval "wait \$part$part" || { cat "$SCRATCH/part$part" >&2; fail "fio, part $part"; }
done

anemone_swapon || fail "swapon"
out=$(vmstat_value pswpout)
within 8 anemone-test pages --mib 12 --passes 2 --seed 1 --threads 2 >"$SCRATCH/first" 2>&1 &
first=$!
within 8 anemone-test pages --mib 6 --passes 2 --seed 2 --fork >"$SCRATCH/second" 2>&1 &
second=$!
wait $first || fail "the first: $(cat "$SCRATCH/first")"
wait $second || fail "the second: $(cat "$SCRATCH/second")"
expect_more "pages swapped out" $((out + 1500)) "$(vmstat_value pswpout)"
nothing_failed || fail "some pages failed"
swapoff "$ANEMONE_DEVICE" || fail "swapoff"
