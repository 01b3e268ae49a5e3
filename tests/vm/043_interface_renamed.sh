#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# what: the interface gets another name and another address under load, and another interface replaces it
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
ip link set eth0 name other0 || fail "rename"
load_progress "$(scaled 200)" || fail "under another name the load does not continue"
ip link set other0 name eth0 || fail "rename back"
load_progress "$(scaled 200)" || fail "under its old name the load does not continue"
ip link set eth0 address 52:54:00:a0:00:77 || fail "address"
load_progress "$(scaled 200)" || fail "with another address the load does not continue"
ip link set eth0 address 52:54:00:a0:00:00 || fail "address"
load_progress "$(scaled 200)" || fail "with its old address the load does not continue"
# Another interface takes its name while it has a different one, and is there when it disappears.
ip link set eth0 name old0 || fail "rename"
ip link add eth0 address 52:54:00:a0:00:78 type veth peer name other netns switch &&
    ip -n switch link set other mtu 1500 master br0 up && ip link set eth0 mtu 1500 up || fail "another eth0"
load_progress "$(scaled 200)" || fail "beside another of its name the load does not continue"
ip link del old0 || fail "del"
load_progress "$(scaled 200)" || fail "through the other the load does not continue"
ip link del eth0 && make_interface || fail "a new eth0"
load_progress "$(scaled 200)" || fail "through a new interface the load does not continue"
load_end || fail "the load"
