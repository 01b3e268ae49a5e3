#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# what: requests of several pages reach the driver unsplit, up to its limit
# machine: segment
# bound: 120
# debug: yes
# shellcheck source-path=SCRIPTDIR source=common.sh disable=SC2015
. "$(dirname "$0")/common.sh"

requires fio
anemone_load size_mib=64 || fail "load"
most_kib=$(cat /sys/block/anemone/queue/max_sectors_kb)
[ "$most_kib" -ge 16 ] || fail "a request has at most $most_kib KiB"
field() { awk "{ print \$$1 }" /sys/block/anemone/stat; }
pages=$(counter pages_out) reads=$(field 1) writes=$(field 5)
fio_verify --rw=write --bs=256k --ioengine=libaio --iodepth=4 --size=8m || fail "256k"
wrote=$(($(counter pages_out) - pages)) requests=$(($(field 5) - writes))
[ "$wrote" = 2048 ] || fail "$wrote pages were written, not 2048"
[ "$requests" -le $((2 * 8192 / most_kib)) ] || fail "2048 pages came in $requests requests of at most $most_kib KiB"
requests=$(($(field 1) - reads))
[ "$requests" -le $((2 * 8192 / most_kib)) ] || fail "2048 pages were read in $requests requests"
[ "$(cat /sys/block/anemone/queue/stable_writes)" = 1 ] || fail "writes are not stable"
[ "$(cat /sys/block/anemone/queue/logical_block_size)" = 4096 ] || fail "the logical block is not 4 KiB"
