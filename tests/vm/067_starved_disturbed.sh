#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# what: a server dies, a link is cut, then all links, while a machine swaps with almost no memory in reserve
# machine: starved
# vm: --servers 3 --server-mem 448 --disk 384 --file tests/vm/repair.sh
# bound: 600
# debug: no, that kernel needs more memory than the test leaves
# shellcheck source-path=SCRIPTDIR source=common.sh source=repair.sh source=starved.sh disable=SC2015
. "$(dirname "$0")/common.sh"
. "$(dirname "$0")/repair.sh"
. "$(dirname "$0")/starved.sh"

program_runs() { kill -0 "$PROGRAM" 2>/dev/null; }
has_moved() { ! program_runs || [ "$(counter pages_out)" -ge "$1" ]; }
# moves PAGES: waits until so many more have been paged out.
moves() {
    wait_for 120 "$1 more pages out" has_moved $(($(counter pages_out) + $1)) ||
        { cat "$ANEMONE_DEBUG/counters" "$ANEMONE_DEBUG/servers" "$ANEMONE_DEBUG/disk" >&2; return 1; }
    program_runs || { say "the program ended too soon: $(cat "$SCRATCH/pages")"; return 1; }
    say "$1 more pages out: $(($(anemone_seconds) - FROM)) s"
}
none_up() { ! is_healthy 1 && ! is_healthy 2 && ! is_healthy 3; }

# This script is swapped out as well. With all links cut, only the disk has its pages.
anemone_load size_mib=320 mirror=strict local_device="$ANEMONE_DISK" || fail "load"
anemone_swapon || fail "swapon"
storm_begin
: >"$SCRATCH/load"
FROM=$(anemone_seconds)
anemone-test pages --mib 112 --passes 1 --while "$SCRATCH/load" >"$SCRATCH/pages" 2>&1 &
PROGRAM=$!

moves 3000 || fail "nothing is paged out"
disturb kill 1 || fail "kill"
moves 2000 || fail "it does not continue without server 1"
host start 1 || fail "start"
wait_for 60 "the new server 1 is used" is_healthy 1 || fail "$(cat "$ANEMONE_DEBUG/servers")"
moves 500 || fail "it does not continue with server 1"
disturb link 2 down || fail "link 2 down"
moves 1000 || fail "it does not continue without link 2"
host link 2 up || fail "link 2 up"
for server in 1 2 3; do disturb link $server down || fail "link $server down"; done
wait_for 60 "no server answers" none_up || fail "$(cat "$ANEMONE_DEBUG/servers")"
for server in 1 2 3; do host link $server up || fail "link $server up"; done
moves 2000 || fail "it does not continue when the links are back"

rm "$SCRATCH/load"
storm_end || fail "the storm: $(cat "$SCRATCH/storm.out")"
wait $PROGRAM || fail "the program: $(cat "$SCRATCH/pages")"
say "$(cat "$SCRATCH/pages"): $(($(anemone_seconds) - FROM)) s"
nothing_failed || fail "some pages failed"
swapoff "$ANEMONE_DEVICE" || fail "swapoff"
