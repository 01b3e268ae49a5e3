#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# what: the interface is the own port of a switch of Open vSwitch: it is used, what cannot be seen below it is reported, and it is released
# machine: segment
# bound: 90
# debug: yes
# shellcheck source-path=SCRIPTDIR source=common.sh disable=SC2015
. "$(dirname "$0")/common.sh"

needs_single
requires anemone-test fio
modprobe openvswitch 2>/dev/null || [ -d /sys/module/openvswitch ] || skip "this kernel has no Open vSwitch"
unseen() { dmesg | grep -c "interface $1: answers may be dropped below it .*; only a local disk guarantees progress"; }
# used: the switch is used, and the log reports once what is below it.
used() {
    anemone-test switch ovs0 eth0 && ip link set ovs0 up || fail "no switch"
    dmesg -c >/dev/null
    anemone_load interface=ovs0 size_mib=64 || fail "load"
    [ "$(unseen ovs0)" = 1 ] || fail "not said, or more than once: $(dmesg)"
    ! dmesg | grep -q "ovs0 lies on" || fail "the switch is looked through: $(dmesg)"
    fio_verify --rw=randwrite --bs=4k --ioengine=psync --size="$(scaled 4)m" || fail "verify"
    [ "$(counter pages_out_degraded)" = 0 ] || fail "copies are missing"
    nothing_failed || fail "some pages failed"
}

used
anemone_unload || fail "unload"
timeout 20 anemone-test switch ovs0 || fail "the switch is held"

# The switch disappears while it is used.
used
timeout 20 anemone-test switch ovs0 || fail "the switch is held"
[ ! -e /sys/class/net/ovs0 ] || fail "ovs0 is there"
anemone_unload || fail "unload without the interface"
# Below a VLAN on the switch nothing is seen either.
anemone-test switch ovs0 eth0 && ip link set ovs0 up && ip link add link ovs0 name ovs0.5 type vlan id 5 && ip link set ovs0.5 up || fail "VLAN"
dmesg -c >/dev/null
anemone_load interface=ovs0.5 size_mib=64 connect_ms=100 2>/dev/null && fail "there are no servers"
[ "$(unseen ovs0.5)" = 1 ] || fail "not said: $(dmesg)"
ip link del ovs0.5 && anemone-test switch ovs0 || fail "the switch is held"
