#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# what: the interface is a VLAN, bond, team, bridge, macvlan, VLAN on a bond, or tap: it is used, followed when the devices below change, and released; the log reports what cannot be looked through, and what copies
# machine: segment
# bound: 240
# debug: yes
# shellcheck source-path=SCRIPTDIR source=common.sh disable=SC2015
. "$(dirname "$0")/common.sh"

needs_single
requires anemone-test fio ethtool losetup
# Without its own bond0.
modprobe bonding max_bonds=0 2>/dev/null || true
for module in team team_mode_activebackup openvswitch; do
    modprobe $module 2>/dev/null || true
done
lies_on() { dmesg | grep -c "anemone: interface $1 lies on $2: answers are taken there"; }
# uses INTERFACE LOWER...: the interface is used, and answers are taken on LOWER.
uses() {
    name=$1
    shift
    dmesg -c >/dev/null
    ip link set "$name" up && anemone_load interface="$name" size_mib=64 || fail "$name: load"
    for lower; do
        [ "$(lies_on "$name" "$lower")" = 1 ] || fail "$name lies on $lower: not logged, or more than once: $(dmesg)"
    done
    ! dmesg | grep -q 'only a local disk guarantees progress' || fail "$name: $(dmesg)"
    fio_verify --rw=randwrite --bs=4k --ioengine=psync --size="$(scaled 4)m" || fail "$name: verify"
    [ "$(counter pages_out_degraded)" = 0 ] || fail "$name: copies are missing"
    nothing_failed || fail "$name: some pages failed"
}
done_with() {
    anemone_unload || fail "$1: unload"
    timeout 20 ip link del "$1" || fail "$1 is held"
}

# An interface without scatter-gather copies. This is logged once when it is bound, and when it changes.
# changes, once.
copies() { dmesg | grep -c "anemone: interface $1: $2 has no scatter-gather, .*; only a local disk guarantees progress"; }
ethtool -K eth0 sg off || fail "scatter-gather off"
dmesg -c >/dev/null
anemone_load size_mib=64 || fail "load without scatter-gather"
[ "$(copies eth0 eth0)" = 1 ] || fail "that eth0 copies is not logged: $(dmesg)"
fio_verify --rw=randwrite --bs=4k --ioengine=psync --size="$(scaled 4)m" || fail "without scatter-gather: verify"
ethtool -K eth0 sg on || fail "scatter-gather on"
[ "$(copies eth0 eth0)" = 1 ] || fail "eth0 does not copy, and it is said: $(dmesg)"
ethtool -K eth0 sg off || fail "scatter-gather off again"
[ "$(copies eth0 eth0)" = 2 ] || fail "that eth0 copies from now on is not logged: $(dmesg)"
ethtool -K eth0 sg on || fail "scatter-gather on again"
anemone_unload || fail "unload"

# A macvlan has its own address, which the servers see.
ip link add mac0 link eth0 type macvlan mode bridge || fail "macvlan"
uses mac0 eth0
done_with mac0

# VLAN 5, on both sides.
for server in 1 2 3; do
    ip -n "server$server" link add link eth0 name eth0.5 type vlan id 5 && ip -n "server$server" link set eth0.5 up &&
        ip netns exec "server$server" tc qdisc add dev eth0 clsact &&
        ip netns exec "server$server" tc filter add dev eth0 egress protocol 0x88b5 matchall action vlan push id 5 &&
        ip netns exec "server$server" tc filter add dev eth0 ingress protocol 802.1Q matchall action vlan pop ||
        fail "server $server: VLAN 5"
done
ip link add link eth0 name eth0.5 type vlan id 5 || fail "VLAN"
uses eth0.5 "eth0, VLAN 5"
done_with eth0.5

# A VLAN on a bond whose members are added and removed under load.
if ip link add bond0 type bond mode active-backup miimon 100 2>/dev/null; then
    ip link set eth0 down && ip link set eth0 master bond0 && ip link set bond0 up || fail "bond"
    ip link add link bond0 name bond0.5 type vlan id 5 || fail "VLAN on the bond"
    uses bond0.5 "eth0, VLAN 5"
    load_begin --threads 2 --blocks 256
    load_progress "$(scaled 100)" || fail "VLAN on a bond: the load does not begin"
    ip link add eth1 type veth peer name client1 netns switch && ip -n switch link set client1 mtu 1500 master br0 up || fail "eth1"
    ip link set eth1 master bond0 || fail "another member"
    [ "$(lies_on bond0.5 "eth1, VLAN 5")" = 1 ] || fail "eth1 is not listened to: $(dmesg | tail)"
    load_progress "$(scaled 100)" || fail "with two members the load does not continue"
    ip link set eth0 nomaster || fail "a member leaves"
    load_progress "$(scaled 100)" 60 || fail "with the other member the load does not continue"
    timeout 20 ip link del eth1 || fail "eth1 is held"
    ip link set eth0 down && ip link set eth0 master bond0 || fail "the member comes back"
    load_progress "$(scaled 100)" 60 || fail "with the first member again the load does not continue"
    load_end || fail "the load"
    anemone_unload || fail "unload"
    ip link del bond0.5
fi
for server in 1 2 3; do
    ip netns exec "server$server" tc qdisc del dev eth0 clsact
    ip -n "server$server" link del eth0.5
done
if [ -e /sys/class/net/bond0 ]; then
    uses bond0 eth0
    # The interface disappears while it is used, and so do the devices below it.
    timeout 20 ip link del bond0 || fail "bond0 is held"
    anemone_unload || fail "unload without the bond"
    ip link set eth0 up
fi

if ip link add team0 type team 2>/dev/null; then
    ip link set eth0 down && ip link set eth0 master team0 && ip link set team0 up || fail "team"
    dmesg -c >/dev/null
    # A daemon that is not here decides which member sends. The test checks only that the interface is bound.
    anemone_load interface=team0 size_mib=64 connect_ms=100 2>/dev/null && anemone_unload
    [ "$(lies_on team0 eth0)" = 1 ] || fail "team0: $(dmesg)"
    ip link del team0 && ip link set eth0 up || fail "team"
fi

ip link add br1 type bridge stp_state 0 forward_delay 0 mcast_snooping 0 && ip link set eth0 master br1 || fail "bridge"
# A virtual machine's port beside the card.
ip tuntap add mode tap name tap1 && ip link set tap1 master br1 up || fail "tap in the bridge"
uses br1 eth0
done_with br1
ip link del tap1 || fail "tap1 is held"
ip link set eth0 up

# Below a bridge one VLAN of a card replaces another: the card is the same, the tag is not.
ip link add br1 type bridge stp_state 0 forward_delay 0 mcast_snooping 0 && ip link set br1 up || fail "bridge of VLANs"
for id in 8 9; do ip link add link eth0 name eth0.$id type vlan id $id && ip link set eth0.$id up || fail "VLAN $id"; done
ip link set eth0.8 master br1 || fail "VLAN 8 in the bridge"
disk_file=$(mktemp -p "$SCRATCH") && truncate -s 64M "$disk_file" && disk=$(losetup --show -f "$disk_file") || fail "no loop device"
dmesg -c >/dev/null
# No server answers there.
anemone_load interface=br1 size_mib=64 connect_ms=100 local_device="$disk" || fail "a bridge of VLANs: load"
[ "$(lies_on br1 "eth0, VLAN 8")" = 1 ] || fail "VLAN 8 is not listened to: $(dmesg)"
ip link set eth0.9 master br1 || fail "VLAN 9 in the bridge"
[ "$(lies_on br1 "eth0, VLAN 9")" = 1 ] || fail "VLAN 9 is not listened to: $(dmesg)"
dmesg -c >/dev/null
ip link set eth0.8 nomaster || fail "VLAN 8 leaves the bridge"
[ "$(lies_on br1 "eth0, VLAN 9")/$(lies_on br1 "eth0, VLAN 8")" = 1/0 ] || fail "VLAN 8 is still listened to: $(dmesg)"
anemone_unload || fail "unload"
losetup -d "$disk"
ip link del br1 && ip link del eth0.8 && ip link del eth0.9 || fail "bridge of VLANs: it is held"

# Two tags, and devices that hide where frames come from.
ip link add link eth0 name eth0.6 type vlan id 6 && ip link set eth0.6 up &&
    ip link add link eth0.6 name inner type vlan id 7 && ip link set inner up || fail "a VLAN in a VLAN"
# A tap's frames come from a program, which receives them elsewhere. Alone, and below a VLAN.
ip tuntap add mode tap name tap0 && ip link set tap0 up &&
    ip link add link tap0 name tap0.5 type vlan id 5 && ip link set tap0.5 up || fail "tap"
for name in inner tap0 tap0.5; do
    dmesg -c >/dev/null
    anemone_load interface=$name size_mib=64 connect_ms=100 2>/dev/null && fail "$name: there are no servers"
    [ "$(dmesg | grep -c "interface $name: answers may be dropped below it .*; only a local disk guarantees progress")" = 1 ] ||
        fail "$name: not logged: $(dmesg)"
done
ip link del eth0.6 && ip link del tap0 || fail "tap0 is held"
nothing_left || fail "something is left"
