#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# what: the MTU changes under load, up and down, on both sides and on one
# machine: segment
# bound: 120
# debug: yes
# shellcheck source-path=SCRIPTDIR source=common.sh disable=SC2015
. "$(dirname "$0")/common.sh"

needs_single
requires anemone-test fio
anemone_load size_mib=64 || fail "load"
frames() { cat /sys/class/net/eth0/statistics/tx_packets; }
servers_mtu() {
    for number in $(server_numbers); do
        ip -n switch link set "s$number" mtu "$1" && ip -n "server$number" link set eth0 mtu "$1" || fail "MTU"
    done
}
load_begin --threads 2 --blocks 512
load_progress "$(scaled 200)" || fail "the load does not begin"
for mtu in 9000 1500 9000 1000 1500; do
    set_mtu $mtu || fail "MTU $mtu"
    load_progress "$(scaled 200)" || fail "MTU $mtu: the load does not continue"
done
# Jumbo frames leave the client and do not arrive, as with a switch that drops them.
set_mtu 9000 || fail "MTU 9000"
load_progress "$(scaled 200)" || fail "MTU 9000"
servers_mtu 1500
load_progress "$(scaled 200)" || fail "servers at 1500: the load does not continue"
set_mtu 9000 || fail "MTU 9000"
load_progress "$(scaled 200)" || fail "servers at 9000 again"
load_end || fail "the load"
nothing_failed || fail "some pages failed"
anemone_unload || fail "unload"

# Loaded while the switch drops jumbo frames: pages are sent in small ones.
servers_mtu 1500
anemone_load size_mib=64 || fail "load beside a switch that drops jumbo frames"
anemone-test direct --blocks 256 --operations "$(scaled 100)" || fail "beside a switch that drops jumbo frames"
anemone_unload || fail "unload"
# When jumbo frames arrive: one frame for each page, not three.
set_mtu 9000 && anemone_load size_mib=64 servers="$(servers 1)" replicas=1 || fail "load at MTU 9000"
from=$(frames) pages=$(counter pages_out) again=$(counter retransmissions)
fio_job --rw=write --bs=64k --ioengine=psync --size=4m || fail "writing"
from=$(($(frames) - from)) pages=$(($(counter pages_out) - pages)) again=$(($(counter retransmissions) - again))
[ "$from" -lt $((pages * 3 / 2 + again)) ] || fail "$from frames for $pages pages at MTU 9000, $again of them once more"
