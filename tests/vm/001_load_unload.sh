#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# what: the module is loaded and unloaded repeatedly and leaves nothing behind
# machine: segment
# bound: 120
# kinds: cfi rt
# debug: yes
# shellcheck source-path=SCRIPTDIR source=common.sh disable=SC2015
. "$(dirname "$0")/common.sh"

nothing_left || fail "something was there before"
rounds=$(scaled 10 3)
while [ "$rounds" -gt 0 ]; do
    anemone_load size_mib=64 || fail "it was not loaded"
    for part in /sys/module/anemone/parameters "$ANEMONE_DEBUG/counters" "$ANEMONE_DEBUG/servers" \
        "$ANEMONE_DEBUG/latency" "$ANEMONE_DEVICE" /sys/block/anemone/mq/0; do
        [ -e "$part" ] || fail "there is no $part"
    done
    [ "$(blockdev --getsize64 "$ANEMONE_DEVICE")" = 67108864 ] || fail "the size is not 64 MiB"
    [ "$(blockdev --getss "$ANEMONE_DEVICE")" = 4096 ] || fail "the logical block is not 4 KiB"
    [ "$(counter in_flight)" = 0 ] || fail "requests are in flight"
    anemone_unload || fail "it was not unloaded"
    nothing_left || fail "something is left"
    rounds=$((rounds - 1))
done
# Load again at once, without a check in between.
insmod "$ANEMONE_MODULE" interface=eth0 servers="$ANEMONE_SERVERS" size_mib=64 && rmmod anemone &&
    insmod "$ANEMONE_MODULE" interface=eth0 servers="$ANEMONE_SERVERS" size_mib=64 && rmmod anemone || fail "in a row"
# Nothing refers to the interface any more: otherwise the kernel would wait for it for ever.
ip link add name other0 type dummy && ip link set other0 up || fail "no dummy interface"
refused EHOSTUNREACH "none of 1 servers answered on other0" interface=other0 servers="$(servers 1)" connect_ms=200
timeout 60 ip link del other0 || fail "the interface is still held"
kernel_memory_clean
