#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# what: loading warns of fewer servers than wanted, of the machine itself among them, and of a size beyond what they offer, and of nothing else
# machine: segment
# bound: 120
# debug: yes
# shellcheck source-path=SCRIPTDIR source=common.sh disable=SC2015
. "$(dirname "$0")/common.sh"

needs_single
said() { dmesg | grep -q "anemone: .*$1" || fail "not said: $1: $(dmesg)"; }
load() {
    dmesg -c >/dev/null
    # Loading ends as soon as all servers have answered. A server that never answers takes all of the time.
    anemone_load "$@" connect_ms=10000 || fail "not loaded: $*"
}

load size_mib=64 replicas=2
# The kernel's own message about the first module out of its tree is not meant.
dmesg -r | grep -v 'loading out-of-tree' | grep -q '^<[0-4]>.*anemone:' && fail "a warning without a cause: $(dmesg)"
anemone_unload
load size_mib=64 replicas=2 servers="$(servers 1)"
said "degraded: 1 of 1 servers answered, 2 replicas are wanted of each page"
dmesg -r | grep -q '^<4>.*anemone: degraded' || fail "it is not a warning: $(dmesg -r)"
anemone_unload
load size_mib=64 replicas=2 servers="$(servers 1 2),52:54:00:a0:00:71"
said "degraded: 2 of 3 servers answered, 2 replicas are wanted of each page"
anemone_unload
own=$(cat /sys/class/net/eth0/address)
load size_mib=64 replicas=2 servers="$(servers 1 2),$own"
said "server $own: is this machine's own address on eth0 and cannot answer; leave it out of servers="
anemone_unload
load size_mib=200 replicas=2 servers="$(servers 1 2)" overcommit=1
said "the device has 200 MiB; 2 servers that answered have [0-9]* MiB, enough for [0-9]* MiB in 2 copies"
offered=$(dmesg | sed -n 's/.*that answered have \([0-9]*\) MiB.*/\1/p')
[ "$offered" -gt 100 ] && [ "$offered" -le 192 ] || fail "two servers of 96 MiB offer $offered MiB?"
anemone_unload
