#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# what: the interface goes down and up under load: requests wait, none fails
# machine: segment
# bound: 120
# debug: yes
# shellcheck source-path=SCRIPTDIR source=common.sh disable=SC2015
. "$(dirname "$0")/common.sh"

needs_single
requires anemone-test
anemone_load size_mib=64 || fail "load"
load_begin --threads 2 --blocks 512
load_progress "$(scaled 200)" || fail "the load does not begin"
for round in 1 2 3; do
    ip link set eth0 down || fail "down"
    wait_for 30 "a load that waits" is_stalled || fail "the load continues without an interface"
    ip link set eth0 up || fail "up"
    load_progress "$(scaled 200)" || fail "round $round: the load does not continue"
done
# The servers' side.
for number in $(server_numbers); do disturb link "$number" down || fail "link down"; done
wait_for 30 "a load that waits" is_stalled || fail "the load continues without servers"
for number in $(server_numbers); do host link "$number" up || fail "link up"; done
load_progress "$(scaled 200)" || fail "the load does not continue"
load_end || fail "the load"
nothing_failed || fail "some pages failed"
