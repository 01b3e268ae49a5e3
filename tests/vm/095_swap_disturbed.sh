#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# what: servers die at every stage of a swap load, both at once, and the whole network fails: the program continues
# machine: disk
# vm: --client-mem 256 --file tests/vm/repair.sh
# bound: 360
# debug: yes
# shellcheck source-path=SCRIPTDIR source=common.sh source=disk.sh source=repair.sh disable=SC2015
. "$(dirname "$0")/common.sh"
. "$(dirname "$0")/disk.sh"
. "$(dirname "$0")/repair.sh"

needs_single
requires anemone-test
MIB=$(scaled 24 4)

# program_begin [OPTION...]: pages that contain their address and version, twice as many as fit its memory.
program_begin() {
    within $((MIB / 2)) anemone-test pages --mib "$MIB" --threads 2 "$@" >"$SCRATCH/pages" 2>&1 &
    PROGRAM=$!
}
program_runs() { kill -0 $PROGRAM 2>/dev/null; }
has_moved() { ! program_runs || [ $(($(counter pages_out) + $(counter pages_in))) -ge "$1" ]; }
# moves PAGES: waits until so many more have been paged out or in.
moves() {
    wait_moving 90 "$1 more pages moved" moved has_moved $(($(counter pages_out) + $(counter pages_in) + $1)) ||
        { cat "$ANEMONE_DEBUG/counters" "$ANEMONE_DEBUG/servers" "$ANEMONE_DEBUG/disk" >&2; return 1; }
    program_runs || { say "the program ended too soon: $(cat "$SCRATCH/pages")"; return 1; }
}
program_ends() { wait $PROGRAM || fail "$1: $(cat "$SCRATCH/pages")"; say "$1: $(cat "$SCRATCH/pages")"; }
back() {
    for number in "$@"; do
        host start "$number" || fail "start $number"
        wait_for 40 "the new server $number is used" is_healthy "$number" || fail "$(cat "$ANEMONE_DEBUG/servers")"
    done
}
STEP=$(scaled 1500 6)

# Without a disk: another server at each stage. Two copies always: on a busy machine a page might have
# its only one on the server that is killed. The first pass fills, the others read and rewrite.
anemone_load size_mib=64 io_timeout_s=60 loss_timeout_s=2 min_copies=2 || fail "load"
anemone_swapon || fail "swapon"
program_begin --passes 3
moves 50 || fail "nothing is paged out"
for server in 1 2 3; do
    disturb kill $server || fail "kill $server"
    moves "$STEP" || fail "it does not continue without server $server"
    back $server
    # A page with one copy must not lose it to the next kill.
    copied_or_over() { is_repaired || ! program_runs; }
    wait_moving 90 "pages copied" copying copied_or_over || fail "$(cat "$ANEMONE_DEBUG/counters")"
done
program_ends "a server at a time"
# All links, while pages are swapped out: everything waits, nothing fails.
program_begin --passes 2
moves "$STEP" || fail "nothing is paged out"
for server in 1 2 3; do disturb link $server down || fail "link $server down"; done
wait_for 30 "no progress" is_stalled || fail "there is progress without any server"
for server in 1 2 3; do host link $server up || fail "link $server up"; done
moves "$STEP" || fail "it does not continue when the links are back"
# The client's own link, as when its cable is pulled.
ip link set eth0 down || fail "eth0 down"
wait_for 30 "no progress" is_stalled || fail "there is progress without an interface"
ip link set eth0 up || fail "eth0 up"
program_ends "all links cut"
nothing_failed || fail "some pages failed"
swapoff "$ANEMONE_DEVICE" && anemone_unload || fail "swapoff"

# With a disk: all servers at once, as often as there is time.
anemone_load size_mib=64 io_timeout_s=60 loss_timeout_s=2 mirror=strict local_device="$ANEMONE_DISK" || fail "load with a disk"
anemone_swapon || fail "swapon"
program_begin --passes 3
moves 50 || fail "nothing is paged out"
for round in 1 2; do
    moves "$STEP" || fail "round $round"
    for server in 1 2 3; do disturb kill $server || fail "kill $server"; done
    moves "$STEP" || fail "it does not continue from the disk, round $round"
    back 1 2 3
done
program_ends "all servers at once"
nothing_failed || fail "some pages failed"
swapoff "$ANEMONE_DEVICE" || fail "swapoff"
