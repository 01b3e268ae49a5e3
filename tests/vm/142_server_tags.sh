#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# what: a server receives frames with a VLAN-0 priority tag, in the frame or beside it, and frames that a shaper redirects
# machine: segment
# vm: --servers 2
# bound: 120
# debug: yes
# shellcheck source-path=SCRIPTDIR source=common.sh disable=SC2015
. "$(dirname "$0")/common.sh"

needs_single
requires anemone-test ethtool
# Only this server is used: all reads and writes go through it.
ONLY=$(servers 1)
in_switch() { ip netns exec switch "$@"; }
in_first() { ip netns exec server1 "$@"; }

# All frames to the server get a tag with priority 5. Frames from it have none.
tag_on() {
    in_switch ip link add s1.0 link s1 type vlan id 0 egress-qos-map 0:5 || return
    in_switch tc qdisc add dev s1 clsact || return
    in_switch tc filter add dev s1 ingress matchall action mirred ingress redirect dev s1.0 || return
    in_switch ip link set s1 nomaster || return
    in_switch ip link set s1.0 master br0 up || return
    in_first tc qdisc add dev eth0 clsact || return
    in_first tc filter add dev eth0 ingress protocol 802.1Q flower vlan_id 0 vlan_prio 5 action pass
}
tag_off() {
    in_switch ip link del s1.0
    in_switch tc qdisc del dev s1 clsact
    in_switch ip link set s1 master br0
    in_first tc qdisc del dev eth0 clsact
}
tagged() { in_first tc -s filter show dev eth0 ingress | sed -n 's/.*Sent [0-9]* bytes \([0-9]*\) pkt.*/\1/p' | head -n 1; }
# The segment must be restored at the end of the test.
restore() {
    restore_status=$1
    tag_off 2>/dev/null
    shaper_off 2>/dev/null
    common_end "$restore_status"
}
trap 'restore $?' EXIT

# used WHAT COUNT: pages go to the server and are read back, while what COUNT prints grows with them.
used() {
    used_before=$($2)
    anemone_load size_mib=32 servers="$ONLY" replicas=1 || fail "$1: load"
    load_begin --threads 2 --blocks 512
    load_progress "$(scaled 300)" || fail "$1: no progress"
    load_end || fail "$1: the load"
    nothing_failed || fail "$1: some pages failed"
    used_pages=$(($(counter pages_out) + $(counter pages_in)))
    used_frames=$(($($2) - used_before))
    anemone_unload || fail "$1: unload"
    # Each page is at least one frame to the server, written or read.
    [ "$used_frames" -ge "$used_pages" ] || fail "$1: $used_frames frames for $used_pages pages"
    say "ok: $1: $used_frames frames for $used_pages pages"
}

tag_on || fail "no tags"
used "a tag beside the frame" tagged
in_switch ethtool -K s1 txvlan off >/dev/null && in_first ethtool -K eth0 rxvlan off >/dev/null || fail "ethtool"
used "a tag in the frame" tagged
tag_off

shaper_on() {
    in_first ip link add shaper type ifb && in_first ip link set shaper up || return
    in_first tc qdisc add dev shaper root tbf rate 1gbit burst 64k latency 50ms || return
    in_first tc qdisc add dev eth0 clsact || return
    in_first tc filter add dev eth0 ingress matchall action mirred egress redirect dev shaper
}
shaper_off() { in_first ip link del shaper; in_first tc qdisc del dev eth0 clsact; }
shaped() { in_first tc -s qdisc show dev shaper | sed -n 's/.* \([0-9]*\) pkt .*/\1/p' | head -n 1; }
shaper_on || fail "no shaper"
used "put in again by a shaper" shaped
shaper_off
