#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# what: frames are reordered in each direction, at MTU 1500 and 9000
# machine: segment
# bound: 120
# debug: yes
# shellcheck source-path=SCRIPTDIR source=common.sh disable=SC2015
. "$(dirname "$0")/common.sh"

needs_single
requires tc anemone-test
reordered() { $(in_server "$1") tc -s qdisc show dev eth0 | sed -n 's/.*requeues \([0-9]*\).*/\1/p' | head -n 1; }
for mtu in 1500 9000; do
    set_mtu $mtu && anemone_load size_mib=64 || fail "load at MTU $mtu"
    for where in 0 "1 2 3"; do
        for number in $where; do netem "$number" delay 2ms reorder 40% || fail "netem"; done
        anemone-test direct --blocks 256 --threads 4 --operations "$(scaled 30 3)" --seed 32 || fail "MTU $mtu, from $where"
        for number in $where; do
            expect_more "MTU $mtu: frames of $number that passed others" 0 "$(reordered "$number")"
            netem_off "$number"
        done
    done
    anemone_unload || fail "unload"
done
