#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# what: pages that change while they are paged out: both copies of each are equal
# machine: segment
# bound: 180
# debug: yes
# shellcheck source-path=SCRIPTDIR source=common.sh disable=SC2015
. "$(dirname "$0")/common.sh"

requires anemone-test
# Both copies, even if the host is so busy that a server seems silent.
anemone_load size_mib=16 min_copies=2 servers="$(servers 1 2)" || fail "load"
anemone_swapon || fail "swapon"
before=$(counter pages_out)
: >"$SCRATCH/go"
anemone-test dirty --mib 4 --while "$SCRATCH/go" --threads 3 --hold "$SCRATCH/hold" >"$SCRATCH/dirty" 2>&1 &
program=$!
# Page out as often as it takes while the pages change.
changed() { [ "$(counter pages_out)" -ge $((before + 4096)) ] || ! kill -0 $program 2>/dev/null; }
wait_moving 60 "pages that are paged out while they are changed" moved changed || fail "$(cat "$SCRATCH/dirty")"
rm "$SCRATCH/go"
wait_for 60 "a program that is paged out" test -e "$SCRATCH/hold" || fail "$(cat "$SCRATCH/dirty")"
wait_for 20 "nothing in flight" idle || fail "requests are in flight"
disturb pause 1 || fail "pause 1"
missed() { ! is_healthy "$1"; }
second=$(sum_of_device 16) || fail "server 2 alone: $(cat "$ANEMONE_DEBUG/counters")"
wait_for 20 "server 1 is missed" missed 1 || fail "server 1 does not stop"
host resume 1 && wait_for 20 "server 1 is back" is_healthy 1 || fail "resume 1"
disturb pause 2 || fail "pause 2"
first=$(sum_of_device 16) || fail "server 1 alone: $(cat "$ANEMONE_DEBUG/counters")"
wait_for 20 "server 2 is missed" missed 2 || fail "server 2 does not stop"
host resume 2 && wait_for 20 "server 2 is back" is_healthy 2 || fail "resume 2"
[ "$first" = "$second" ] || fail "the copies on the two servers are not equal"
rm "$SCRATCH/hold"
wait $program || fail "$(cat "$SCRATCH/dirty")"
cat "$SCRATCH/dirty" >&2
