#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# what: loaded with a disk and no server: everything is on the disk; a server that is added is used
# machine: disk
# bound: 180
# debug: yes
# shellcheck source-path=SCRIPTDIR source=common.sh source=disk.sh disable=SC2015
. "$(dirname "$0")/common.sh"
. "$(dirname "$0")/disk.sh"

needs_single
requires fio anemone-test
# None of them answers now.
disturb kill 1 && disturb kill 2 && disturb kill 3 || fail "kill"
# Strict, because later all servers die at once: pages that are out of sync on a slow disk would be lost.
anemone_load size_mib=64 local_device="$ANEMONE_DISK" connect_ms=300 mirror=strict || fail "load"
fio_verify --rw=randwrite --bs=4k --ioengine=libaio --iodepth=16 --size="$(scaled 8 4)m" || fail "fio without servers"
fio_verify --rw=randwrite --bs=32k --ioengine=libaio --iodepth=4 --offset=16m --size="$(scaled 8 4)m" || fail "fio without servers"
[ "$(counter copies_out)" = 0 ] || fail "a server has acknowledged"
nothing_failed || fail "some pages failed"
# Also as swap space.
anemone_swapon -d || fail "swapon"
[ "$(grep -c "^$ANEMONE_DEVICE " /proc/swaps)" = 1 ] || fail "no swap"
swapoff "$ANEMONE_DEVICE" || fail "swapoff"
load_begin --threads 2 --blocks 1024
load_progress "$(scaled 300)" || fail "the load does not begin"
for server in 1 2 3; do host start $server || fail "start"; done
wait_for 60 "server 1 is used" is_healthy 1 && wait_for 60 "server 2 is used" is_healthy 2 ||
    fail "$(cat "$ANEMONE_DEBUG/servers")"
copies=$(counter copies_out)
load_progress "$(scaled 300)" || fail "the load does not continue with servers"
expect_more copies_out "$copies" "$(counter copies_out)"
disturb kill 1 && disturb kill 2 && disturb kill 3 || fail "kill"
load_progress "$(scaled 300)" 90 || fail "the load does not continue without servers"
load_end || fail "the load"
nothing_failed || fail "some pages failed"
