#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# what: frames are duplicated in each direction, at MTU 1500 and 9000
# machine: segment
# bound: 120
# debug: yes
# shellcheck source-path=SCRIPTDIR source=common.sh disable=SC2015
. "$(dirname "$0")/common.sh"

needs_single
requires tc anemone-test
for mtu in 1500 9000; do
    set_mtu $mtu && anemone_load size_mib=64 || fail "load at MTU $mtu"
    for where in 0 "1 2 3"; do
        before=$(counter stale_frames)
        # Also delayed: the second frame arrives after its request has ended.
        for number in $where; do netem "$number" duplicate 30% delay 1ms 900us || fail "netem"; done
        anemone-test direct --blocks 256 --threads 2 --operations "$(scaled 60 3)" --seed 31 || fail "MTU $mtu, from $where"
        for number in $where; do netem_off "$number"; done
        expect_more "MTU $mtu, from $where: answers that were over" "$before" "$(counter stale_frames)"
    done
    anemone_unload || fail "unload"
done
