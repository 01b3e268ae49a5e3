#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# what: frames with a priority tag (VLAN 0) belong to the interface, and a VLAN's do not; an ingress shaper through ifb does not divert frames
# machine: segment
# bound: 120
# debug: yes
# shellcheck source-path=SCRIPTDIR source=common.sh disable=SC2015
. "$(dirname "$0")/common.sh"

needs_single
requires anemone-test fio ethtool
is_silent() { [ "$(health "$1")" = suspected ] || [ "$(health "$1")" = lost ]; }
verify() { fio_verify --rw=randwrite --bs=4k --ioengine=psync --size="$(scaled 8 4)m"; }
# tag N ID in|beside: frames that server N sends are tagged, in the frame's bytes or beside them.
tag() {
    tag_in=on
    [ "$3" = beside ] || tag_in=off
    ip netns exec "server$1" ethtool -K eth0 tx-vlan-hw-insert $tag_in >/dev/null &&
        ip netns exec "server$1" tc qdisc add dev eth0 clsact &&
        ip netns exec "server$1" tc filter add dev eth0 egress matchall action vlan push id "$2" priority 5
}
untag() { ip netns exec "server$1" tc qdisc del dev eth0 clsact; }
tagged() { ip netns exec "server$1" tc -s filter show dev eth0 egress | sed -n 's/.* \([0-9]*\) pkt .*/\1/p' | head -n 1; }

# Loaded while every frame of the servers has a priority tag.
tag 1 0 beside && tag 2 0 in && tag 3 0 in || fail "tags"
anemone_load size_mib=64 || fail "load, with priority tags"
verify || fail "verify, with priority tags"
nothing_failed || fail "some pages failed with priority tags"
for server in 1 2 3; do
    [ "$(tagged $server)" -gt 20 ] || fail "server $server: no tag was put on: $(tagged $server)"
    untag $server || fail "untag $server"
done
[ "$(counter pages_out_degraded)" = 0 ] || fail "copies are missing"

# A VLAN's frames are not the module's, whether or not such a VLAN exists here.
tag 1 7 in || fail "tag"
wait_for 20 "server 1 is suspected" is_silent 1 || fail "frames of VLAN 7 are taken"
ip link add link eth0 name eth0.7 type vlan id 7 && ip link set eth0.7 up || fail "a VLAN"
from=$(counter frames_bad)
verify || fail "verify, without server 1"
is_silent 1 || fail "frames of VLAN 7 are taken"
[ "$(counter frames_bad)" = "$from" ] || fail "bad frames"
ip link del eth0.7 && untag 1 || fail "untag"
wait_for 20 "server 1 is back" is_healthy 1 || fail "$(cat "$ANEMONE_DEBUG/servers")"

# All received frames go through a shaper and are received once more after the hook.
ip link add ifb0 type ifb 2>/dev/null
ip link set ifb0 up && tc qdisc add dev ifb0 root tbf rate 400mbit burst 64kb latency 400ms &&
    tc qdisc add dev eth0 ingress && tc filter add dev eth0 ingress matchall action mirred egress redirect dev ifb0 ||
    fail "a shaper"
verify || fail "verify, through a shaper"
shaped=$(tc -s qdisc show dev ifb0 | sed -n 's/.* \([0-9]*\) pkt .*/\1/p' | head -n 1)
[ "$shaped" -gt 500 ] || fail "the shaper has shaped nothing: $shaped"
# The shaper is added under load, and removed.
load_begin --threads 2 --blocks 512
load_progress "$(scaled 200)" || fail "through a shaper the load does not begin"
tc qdisc del dev eth0 ingress || fail "no shaper"
load_progress "$(scaled 200)" || fail "without the shaper the load does not continue"
tc qdisc add dev eth0 ingress && tc filter add dev eth0 ingress matchall action mirred egress redirect dev ifb0 || fail "a shaper"
load_progress "$(scaled 200)" || fail "with a shaper again the load does not continue"
load_end || fail "the load"
tc qdisc del dev eth0 ingress
ip link del ifb0
nothing_failed || fail "some pages failed"
anemone_unload || fail "unload"

# Loaded with a shaper.
ip link add ifb0 type ifb 2>/dev/null
ip link set ifb0 up && tc qdisc add dev eth0 ingress && tc filter add dev eth0 ingress matchall action mirred egress redirect dev ifb0 || fail "a shaper"
anemone_load size_mib=64 || fail "load behind a shaper"
verify || fail "verify behind a shaper"
tc qdisc del dev eth0 ingress
ip link del ifb0
