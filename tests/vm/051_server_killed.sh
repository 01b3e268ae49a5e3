#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# what: a server is killed under load and restarts empty: no byte is wrong, no request fails
# machine: segment
# bound: 240
# kinds: cfi rt
# debug: yes
# shellcheck source-path=SCRIPTDIR source=common.sh disable=SC2015
. "$(dirname "$0")/common.sh"

requires anemone-test fio
# Two copies always: on a busy machine a page might have its only one on the server that is killed.
anemone_load size_mib=48 min_copies=2 || fail "load"
load_begin --threads 2 --blocks 1024
fio --name=load --filename="$ANEMONE_DEVICE" --direct=1 --ioengine=libaio --iodepth=8 --rw=randwrite --bs=4k --offset=16m \
    --size="$(scaled 4 2)m" --loops=2 --verify=crc32c --verify_fatal=1 --output="$SCRATCH/fio" >/dev/null 2>&1 &
fio=$!
load_progress "$(scaled 300)" || fail "the load does not begin"
disturb kill 2 || fail "kill"
load_progress "$(scaled 300)" || fail "the load does not continue without server 2"
wait $fio || { cat "$SCRATCH/fio" >&2; fail "fio"; }
host start 2 || fail "start"
wait_for 30 "the new server 2 is used" is_healthy 2 || fail "$(cat "$ANEMONE_DEBUG/servers")"
load_progress "$(scaled 300)" || fail "the load does not continue with server 2 again"
load_end || fail "the load"
nothing_failed || fail "some pages failed"
