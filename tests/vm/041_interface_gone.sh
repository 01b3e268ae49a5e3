#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# what: the interface is deleted under load and created again: requests wait, none fails
# machine: segment
# bound: 120
# kinds: cfi rt
# debug: yes
# shellcheck source-path=SCRIPTDIR source=common.sh disable=SC2015
. "$(dirname "$0")/common.sh"

needs_single
requires anemone-test
anemone_load size_mib=64 || fail "load"
load_begin --threads 2 --blocks 512
load_progress "$(scaled 200)" || fail "the load does not begin"
for round in 1 2; do
    dmesg -c >/dev/null
    timeout 20 ip link del eth0 || fail "round $round: the interface is held"
    wait_for 30 "a load that waits" is_stalled || fail "the load continues without an interface"
    [ "$(dmesg | grep -c 'anemone: interface eth0: gone')" = 1 ] || fail "round $round: not logged, or more than once"
    make_interface || fail "it cannot be made again"
    load_progress "$(scaled 200)" || fail "round $round: the load does not continue"
    dmesg | grep -q 'anemone: interface eth0: bound' || fail "round $round: not said"
done
load_end || fail "the load"
nothing_failed || fail "some pages failed"

# Unload without an interface, and load when there is one again.
ip link del eth0 || fail "the interface is held"
anemone_unload || fail "unload without an interface"
make_interface && anemone_load size_mib=64 || fail "load"
anemone_unload
nothing_left || fail "something is left"
