#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# what: a server machine loses power while a program is swapped out to it: the program continues
# machine: machines
# bound: 240
# debug: yes
# shellcheck source-path=SCRIPTDIR source=common.sh disable=SC2015
. "$(dirname "$0")/common.sh"

needs_machines
requires anemone-test
anemone_load size_mib=96 || fail "load"
anemone_swapon || fail "swapon"
out=$(vmstat_value pswpout)
within 24 anemone-test pages --mib 48 --passes 5 >"$SCRATCH/pages" 2>&1 &
program=$!
has_come() { [ "$(vmstat_value pswpout)" -gt "$1" ]; }
wait_for 60 "a program that is paged out" has_come $((out + $(scaled 8000 4))) || fail "$(cat "$SCRATCH/pages")"
disturb kill 1 || fail "kill"
# Polled, because KASAN keeps what is freed until some allocation may sleep. While pages stream in and nothing else
# runs, none does, and the buffers of received frames fill the machine.
has_ended() { ! kill -0 $program 2>/dev/null; }
wait_for 600 "the end of the program" has_ended || fail "$(cat "$SCRATCH/pages")"
wait $program || fail "$(cat "$SCRATCH/pages")"
expect_more "pages paged out degraded" 0 "$(counter pages_out_degraded)"
nothing_failed || fail "some pages failed"
swapoff "$ANEMONE_DEVICE" || fail "swapoff"
host start 1 || fail "start"
wait_for 30 "the new server 1 is used" is_healthy 1 || fail "$(cat "$ANEMONE_DEBUG/servers")"
