#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# what: each wrong parameter fails the load with its errno and one message, and leaves nothing behind
# machine: segment
# bound: 120
# kinds: cfi rt
# debug: yes
# shellcheck source-path=SCRIPTDIR source=common.sh disable=SC2015
. "$(dirname "$0")/common.sh"
needs_single

mac=52:54:00:a0:00
all=interface=eth0

refused EINVAL "interface= is missing" servers="$(servers 1)"
refused ENODEV "interface=eth9: there is no such network device" interface=eth9 servers="$(servers 1)"
refused EINVAL "is too long" interface=a-name-of-sixteen servers="$(servers 1)"
ip link property add dev eth0 altname alias0 || fail "no other name"
refused EINVAL "interface=alias0: this is another name of eth0; use that one" interface=alias0 servers="$(servers 1)"
ip link property del dev eth0 altname alias0 || fail "the other name stays"
refused EINVAL "interface=lo: not an Ethernet device" interface=lo servers="$(servers 1)"
ip link add small0 type dummy && ip link set small0 mtu 500 up || fail "no dummy interface"
refused EINVAL "an MTU of 500 bytes is too small" interface=small0 servers="$(servers 1)"
ip link del small0 || fail "the dummy interface is held"

for wrong in 52:54:00 nonsense $mac:zz $mac:01:02 ff:ff:ff:ff:ff:ff 01:00:5e:00:00:01 "$mac:01," "$mac:01;$mac:02"; do
    refused EINVAL "is not a unicast hardware address" $all servers="$wrong"
done
refused EINVAL "is listed twice" $all servers="$mac:01,$mac:02,$mac:01"
many=$mac:01
for number in 02 03 04 05 06 07 08 09 0a 0b 0c 0d 0e 0f 10 11 12 13 14 15; do many=$many,$mac:$number; done
refused EINVAL "more than 20 servers" $all servers="$many"

set -- $all servers="$ANEMONE_SERVERS"
refused EINVAL "size_mib=0 is out of range" "$@" size_mib=0
refused EINVAL "size_mib=16777217 is out of range" "$@" size_mib=16777217
refused EINVAL "replicas=0 is out of range" "$@" replicas=0
refused EINVAL "replicas=4 is out of range" "$@" replicas=4
refused EINVAL "min_copies=0 is out of range" "$@" min_copies=0
refused EINVAL "min_copies=4 is out of range" "$@" min_copies=4 replicas=3
refused EINVAL "min_copies=3 is more than replicas=2" "$@" min_copies=3 replicas=2
refused EINVAL "io_timeout_s=0 is out of range" "$@" io_timeout_s=0
refused EINVAL "io_timeout_s=86401 is out of range" "$@" io_timeout_s=86401
refused EINVAL "overcommit=2 is out of range" "$@" overcommit=2
refused EINVAL "encrypt=2 is out of range" "$@" encrypt=2
refused EINVAL "connect_ms=99 is out of range" "$@" connect_ms=99
refused EINVAL "connect_ms=60001 is out of range" "$@" connect_ms=60001
refused EINVAL "hw_queues=65 is out of range" "$@" hw_queues=65
refused EINVAL "queue_depth=0 is out of range" "$@" queue_depth=0
refused EINVAL "queue_depth=257 is out of range" "$@" queue_depth=257
refused EINVAL "ethertype=1500 is out of range" "$@" ethertype=1500
refused EINVAL "ethertype=65536 is out of range" "$@" ethertype=65536
refused EINVAL "cluster=.* is longer than 32 bytes" "$@" cluster=abcdefghijklmnopqrstuvwxyz-0123456789

# The kernel's own parser reports what it refuses.
for wrong in size_mib=many size_mib=-1 size_mib= replicas=two io_timeout_s=60s; do
    dmesg -c >/dev/null
    insmod "$ANEMONE_MODULE" "$@" "$wrong" 2>/dev/null && fail "$wrong was accepted"
    [ "$(dmesg | grep -c "invalid for parameter")" -eq 1 ] || fail "$wrong: $(dmesg)"
    nothing_left || fail "$wrong: something is left"
done

# A load without enough memory fails, and no process is killed.
refused ENOMEM "no memory for 64 hardware queues of 256 requests: [0-9]* MiB" "$@" hw_queues=64 queue_depth=256

# Neither a server nor a disk.
refused EHOSTUNREACH "servers= and local_device= are both missing" $all
# Loading waits for servers that do not answer as long as connect_ms says, and no longer: not for the maximum of a
# minute, however busy the machine is.
from=$(anemone_seconds)
refused EHOSTUNREACH "none of 2 servers answered" $all servers="$mac:71,$mac:72" connect_ms=2000
took=$(($(anemone_seconds) - from))
[ "$took" -ge 1 ] && [ "$took" -le 40 ] || fail "it took $took s to find no servers, with connect_ms=2000"

# Every parameter can be read, and only those that may change can be changed.
anemone_load size_mib=64 replicas=3 min_copies=2 cluster= || fail "good parameters were refused"
value() { cat "/sys/module/anemone/parameters/$1"; }
[ "$(value size_mib)/$(value replicas)/$(value min_copies)/$(value interface)" = 64/3/2/eth0 ] || fail "parameters read wrong"
[ "$(value servers)" = "$ANEMONE_SERVERS" ] || fail "servers reads $(value servers)"
echo 5 >/sys/module/anemone/parameters/io_timeout_s || fail "io_timeout_s cannot be changed"
[ "$(value io_timeout_s)" = 5 ] || fail "io_timeout_s was not changed"
for wrong in 0 86401 x -1; do
    echo "$wrong" 2>/dev/null >/sys/module/anemone/parameters/io_timeout_s && fail "io_timeout_s=$wrong was accepted"
done
[ "$(value io_timeout_s)" = 5 ] || fail "io_timeout_s was changed by a wrong value"
anemone_unload || fail "unload"

modinfo "$ANEMONE_MODULE" >"$SCRATCH/modinfo"
for parameter in interface servers size_mib replicas min_copies io_timeout_s local_device; do
    grep -q "^parm: *$parameter:..* (.*)\$" "$SCRATCH/modinfo" || fail "modinfo does not describe $parameter: $(cat "$SCRATCH/modinfo")"
done
for field in description license author; do
    grep -q "^$field:  *[^ ]" "$SCRATCH/modinfo" || fail "modinfo has no $field: $(cat "$SCRATCH/modinfo")"
done
