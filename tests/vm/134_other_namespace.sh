#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# what: the interface moves to another network namespace and back while the module is loaded, unloaded and works
# machine: segment
# bound: 120
# debug: yes
# shellcheck source-path=SCRIPTDIR source=common.sh disable=SC2015
. "$(dirname "$0")/common.sh"

needs_single
requires anemone-test
# By its path: busybox runs its own applet by name, which does not support named namespaces.
ip=$(command -v ip)
ip netns add elsewhere || fail "a namespace"
home() { ip netns exec elsewhere ip link set eth0 netns 1 2>/dev/null; ip link set eth0 up 2>/dev/null; }
rounds=$(scaled 40 4) moved=0 unloaded=0
# It moves back and forth while the module is loaded and unloaded.
: >"$SCRATCH/moving"
(
    while [ -e "$SCRATCH/moving" ]; do
        ip link set eth0 netns elsewhere 2>/dev/null && echo >>"$SCRATCH/moved"
        home
    done
) &
MOVER=$!
while [ "$rounds" -gt 0 ]; do
    rounds=$((rounds - 1))
    if insmod "$ANEMONE_MODULE" interface=eth0 servers="$ANEMONE_SERVERS" size_mib=64 connect_ms=150 2>/dev/null; then
        timeout 20 rmmod anemone || fail "rmmod"
        unloaded=$((unloaded + 1))
    fi
done
rm "$SCRATCH/moving"
wait $MOVER
home
moved=$(wc -l <"$SCRATCH/moved")
say "$moved moves, $unloaded times loaded and unloaded"
[ "$moved" -gt 3 ] || fail "it was moved $moved times"
[ "$unloaded" -gt 0 ] || fail "it was never loaded"
nothing_left || fail "something is left"
kernel_log_clean || fail "the kernel's log"
# No hook is left: the interface can be moved and deleted.
timeout 20 "$ip" link set eth0 netns elsewhere && home || fail "the interface is held"

# Under load: requests wait, and continue.
anemone_load size_mib=64 || fail "load"
load_begin --threads 2 --blocks 256
load_progress "$(scaled 200)" || fail "the load does not begin"
for round in 1 2; do
    timeout 20 "$ip" link set eth0 netns elsewhere || fail "round $round: the interface is held"
    wait_for 10 "a load that waits" is_stalled || fail "round $round: the load continues without the interface"
    home
    load_progress "$(scaled 200)" || fail "round $round: the load does not continue"
done
load_end || fail "the load"
nothing_failed || fail "some pages failed"
anemone_unload || fail "unload"
ip netns del elsewhere
