#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# what: fio reads back what it wrote, at several depths, block sizes and I/O engines
# machine: segment
# bound: 240
# kinds: cfi rt
# debug: yes
# shellcheck source-path=SCRIPTDIR source=common.sh disable=SC2015
. "$(dirname "$0")/common.sh"

requires fio
# Both copies, even if the host is so busy that a server seems silent.
anemone_load size_mib=64 min_copies=2 || fail "load"
before=$(counter pages_out)
size=$(scaled 4 2)m
fio_verify --rw=randwrite --bs=4k --ioengine=libaio --iodepth=1 --size="$(scaled 2 1)m" || fail "libaio, depth 1, 4k"
fio_verify --rw=randwrite --bs=4k --ioengine=libaio --iodepth=32 --size="$size" || fail "libaio, depth 32, 4k"
fio_verify --rw=randwrite --bs=4k --ioengine=io_uring --iodepth=16 --size="$size" || fail "io_uring, depth 16, 4k"
fio_verify --rw=randwrite --bs=16k --ioengine=psync --size="$size" || fail "sync, 16k"
fio_verify --rw=write --bs=64k --ioengine=libaio --iodepth=8 --size="$size" || fail "libaio, depth 8, 64k"
fio_verify --rw=randwrite --bs=1m --ioengine=io_uring --iodepth=2 --size="$size" || fail "io_uring, depth 2, 1m"
fio_verify --rw=randwrite --bsrange=4k-128k --ioengine=libaio --iodepth=64 --size="$size" || fail "libaio, depth 64, 4k to 128k"
fio_verify --rw=randrw --bs=4k --ioengine=libaio --iodepth=16 --verify_backlog=64 --size="$size" || fail "mixed reads and writes"
expect_more pages_out "$before" "$(counter pages_out)"
nothing_failed || fail "some pages failed"
[ "$(counter pages_out_degraded)" = 0 ] || fail "some pages were paged out degraded"
[ "$(counter copies_out)" -ge $((2 * $(counter pages_out))) ] || fail "$(counter copies_out) copies of $(counter pages_out) pages"
wait_for 10 "nothing in flight" idle || fail "requests are in flight"
