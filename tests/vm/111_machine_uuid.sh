#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# what: a client's identity comes from the machine's UUID, stays the same with another interface address, and does not show the UUID
# machine: segment
# vm: --uuid 5d7c1f0e-93a4-4b62-8a1b-6e0f2c9d4471
# bound: 60
# debug: yes
# shellcheck source-path=SCRIPTDIR source=common.sh disable=SC2015
. "$(dirname "$0")/common.sh"

needs_single
identity() { dmesg | sed -n 's/.*anemone: client \([0-9a-f]\{32\}\), from \(.*\)/\1 \2/p' | tail -n 1; }
anemone_load size_mib=16 || fail "load"
first=$(identity)
case $first in
*"the machine's UUID") say "client $first" ;;
*) fail "not from the UUID: $first; $(cat /sys/class/dmi/id/product_uuid)" ;;
esac
case $first in
5d7c1f0e* | 0e1f7c5d*) fail "it is the UUID: $first" ;;
esac
anemone_unload || fail "unload"

dmesg -c >/dev/null
ip link set eth0 down && ip link set eth0 address 02:00:00:00:77:01 && ip link set eth0 up || fail "another address"
anemone_load size_mib=16 || fail "load with another address"
[ "$(identity)" = "$first" ] || fail "$(identity), not $first"
anemone_unload || fail "unload"
