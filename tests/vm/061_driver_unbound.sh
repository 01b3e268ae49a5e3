#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# what: the network interface's driver is unbound and bound again under load
# machine: machines
# bound: 180
# debug: yes
# shellcheck source-path=SCRIPTDIR source=common.sh disable=SC2015
. "$(dirname "$0")/common.sh"

needs_machines
requires anemone-test
device=$(readlink -f /sys/class/net/eth0/device)
driver=$(readlink -f "$device/driver")
[ -e "$driver/unbind" ] || skip "the interface has no driver that can be unbound"
anemone_load size_mib=64 || fail "load"
load_begin --threads 2 --blocks 512
load_progress "$(scaled 200)" || fail "the load does not begin"
echo "${device##*/}" >"$driver/unbind" || fail "unbind"
wait_for 30 "a load that waits" is_stalled || fail "the load continues without an interface"
echo "${device##*/}" >"$driver/bind" || fail "bind"
wait_for 10 "the interface" test -e /sys/class/net/eth0 || fail "there is no interface: $(ls /sys/class/net)"
ip link set eth0 up || fail "up"
load_progress "$(scaled 200)" || fail "the load does not continue"
load_end || fail "the load"
nothing_failed || fail "some pages failed"
