#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# what: answers in the reserve, which the kernel keeps from a bridge, are taken from the card below it
# machine: machines
# vm: --server-mem 256 --client-mem 320
# bound: 200
# debug: yes
# shellcheck source-path=SCRIPTDIR source=common.sh disable=SC2015
. "$(dirname "$0")/common.sh"

needs_machines
requires anemone-test
SLAB=/sys/kernel/debug/failslab HEADS=/sys/kernel/slab/skbuff_small_head/failslab
[ -d "$SLAB" ] && [ -e "$HEADS" ] || skip "needs a kernel with fault injection"

ip link add br1 type bridge stp_state 0 forward_delay 0 mcast_snooping 0 && ip link set eth0 master br1 && ip link set br1 up || fail "bridge"
anemone_load interface=br1 size_mib=32 min_copies=2 || fail "load"
# The kernel puts a frame into the reserve if the first allocation of its head fails, which happens for one in
# two. For one in two of these the second attempt fails as well, and the frame is lost.
echo 1 >"$HEADS" && echo Y >"$SLAB/cache-filter" && echo N >"$SLAB/task-filter" && echo Y >"$SLAB/ignore-gfp-wait" &&
    echo 0 >"$SLAB/verbose" && echo 1 >"$SLAB/interval" && echo -1 >"$SLAB/times" && echo 50 >"$SLAB/probability" || fail "fault injection"
load_begin --blocks 512 --threads 4
load_progress "$(scaled 2000 10)" 100 || fail "no progress with answers in the reserve"
load_end || fail "data was wrong with answers in the reserve"
echo 0 >"$SLAB/probability" && echo N >"$SLAB/cache-filter" && echo 0 >"$HEADS" || fail "the end of fault injection"
reserve=$(counter frames_from_reserve) below=$(counter frames_from_below)
say "$reserve frames in the reserve, $below taken below; $(counter pages_out) pages out, $(counter pages_in) in"
# The kernel passes none of them up to the bridge.
[ "$below" -ge 50 ] && [ "$below" = "$reserve" ] || fail "$reserve frames in the reserve, $below taken from the card"
nothing_failed || fail "some pages failed"
anemone_unload || fail "unload"
timeout 20 ip link del br1 || fail "br1 is held"
