#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# what: bits of frames are flipped in each direction: nothing wrong is stored or accepted
# machine: segment
# bound: 120
# debug: yes
# shellcheck source-path=SCRIPTDIR source=common.sh disable=SC2015
. "$(dirname "$0")/common.sh"

needs_single
requires tc anemone-test
bad() { echo $(($(counter frames_bad) + $(counter corrupt_in))); }
for mtu in 1500 9000; do
    set_mtu $mtu && anemone_load size_mib=64 || fail "load at MTU $mtu"
    for where in 0 "1 2 3"; do
        retransmitted=$(counter retransmissions) before=$(bad) rejected=$(counter corrupt_out)
        for number in $where; do netem "$number" corrupt 5% || fail "netem"; done
        anemone-test direct --blocks 256 --threads 2 --operations "$(scaled 80 4)" --seed 33 || fail "MTU $mtu, from $where"
        for number in $where; do netem_off "$number"; done
        expect_more "MTU $mtu: retransmissions" "$retransmitted" "$(counter retransmissions)"
        if [ "$where" = 0 ]; then
            expect_more "MTU $mtu: pages that a server found corrupt" "$rejected" "$(counter corrupt_out)"
        else
            expect_more "MTU $mtu: corrupt frames and pages" "$before" "$(bad)"
        fi
    done
    anemone_unload || fail "unload"
done
