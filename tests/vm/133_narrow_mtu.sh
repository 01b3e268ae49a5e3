#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# what: an interface whose MTU is too small for pages: no server is used, the log reports it, no frame is longer than the MTU, and a larger MTU ends it; and a path that is narrower than the interface's MTU
# machine: segment
# vm: --disk 64
# bound: 180
# debug: yes
# shellcheck source-path=SCRIPTDIR source=common.sh disable=SC2015
. "$(dirname "$0")/common.sh"

needs_single
requires anemone-test anemonectl fio
mode() { anemonectl status --json --quick | anemone-test json device.mode; }
mode_is() { [ "$(mode)" = "$1" ]; }
sent() { cat "/sys/class/net/eth0/statistics/tx_$1"; }
is_suspected() { grep -q -e "health suspected" -e "health lost" "$ANEMONE_DEBUG/servers"; }

ip link set eth0 mtu 599 || fail "MTU"
refused EINVAL "an MTU of 599 bytes is too small; the minimum is 600" interface=eth0 servers="$(servers 1 3)" size_mib=64
ip link set eth0 mtu 1500 || fail "MTU"

# The load waits for as long as the steps below take.
anemone_load size_mib=64 io_timeout_s=600 || fail "load"
load_begin --threads 2 --blocks 512
load_progress "$(scaled 200)" || fail "the load does not begin"
for mtu in 599 100 68; do
    dmesg -c >/dev/null
    ip link set eth0 mtu $mtu || fail "MTU $mtu"
    wait_for 10 "MTU $mtu: a load that waits" stuck || fail "MTU $mtu: the load continues"
    mode_is none || fail "MTU $mtu: mode $(mode)"
    [ "$(dmesg | grep -c 'anemone: interface eth0: no server is used: pages need an MTU of 600 bytes')" = 1 ] ||
        fail "MTU $mtu: not logged, or more than once: $(dmesg)"
    anemonectl status --quick | grep -q "MTU $mtu: no server is used, pages need at least 600" || fail "$(anemonectl status)"
    # No page is sent, in any size, and no ping, which is as long as the shortest fragment. A server that no longer
    # announces itself is asked with what fits.
    packets=$(sent packets) bytes=$(sent bytes)
    disturb pause 3 || fail "pause"
    wait_for 40 "MTU $mtu: a server is suspected" is_suspected || fail "MTU $mtu: $(anemonectl status)"
    host resume 3 || fail "resume"
    stuck || fail "MTU $mtu: the load continues"
    # In this order: a frame that is sent meanwhile is counted, and its bytes are not.
    bytes=$(($(sent bytes) - bytes))
    packets=$(($(sent packets) - packets))
    [ $bytes -le $((packets * (mtu + 14))) ] || fail "MTU $mtu: $packets frames of $bytes bytes"
    [ $mtu -ge 100 ] || [ $packets = 0 ] || fail "MTU $mtu: $packets frames of $bytes bytes"
    ip link set eth0 mtu 600 || fail "MTU 600"
    load_progress "$(scaled 100)" || fail "MTU 600: the load does not continue"
    dmesg | grep -q 'anemone: interface eth0: servers are used again, with an MTU of 600 bytes' || fail "MTU 600: not said"
    mode_is network || wait_for 20 "all servers" mode_is network || fail "MTU 600: mode $(mode)"
    ip link set eth0 mtu 1500 || fail "MTU 1500"
    load_progress "$(scaled 100)" || fail "MTU 1500: the load does not continue"
done
load_end || fail "the load"
nothing_failed || fail "some pages failed"

# With a disk the device continues on the disk.
anemonectl attach "$ANEMONE_DISK" || fail "attach"
ip link set eth0 mtu 500 || fail "MTU"
wait_for 10 "the disk alone" mode_is disk-only || fail "$(anemonectl status)"
anemone-test direct --blocks 256 --operations "$(scaled 100)" || fail "on the disk alone"
ip link set eth0 mtu 1500 || fail "MTU"
wait_for 20 "the servers again" mode_is network || fail "$(anemonectl status)"
nothing_failed || fail "some pages failed"
wait_for 20 "rmmod" anemone_unload || fail "unload"

# Created again with a small MTU: bound, and not used.
anemone_load size_mib=64 || fail "load"
ip link del eth0 || fail "del"
ip link add eth0 address 52:54:00:a0:00:00 mtu 300 type veth peer name client netns switch &&
    ip -n switch link set client mtu 1500 master br0 up && ip link set eth0 up || fail "a narrow interface"
mode_is none || fail "mode $(mode)"
ip link set eth0 mtu 1500 || fail "MTU"
wait_for 20 "the servers" mode_is network || fail "$(anemonectl status)"
anemone-test direct --blocks 256 --operations "$(scaled 100)" || fail "after that"
anemone_unload || fail "unload"

# A switch drops frames that are longer than its ports' MTU silently, and lets pings pass. Pages are sent in smaller
# fragments, no server is suspected for good, and the usual fragments are used when the path is wide again.
ports_mtu() {
    for port in client $(server_numbers | sed 's/^/s/'); do
        ip -n switch link set "$port" mtu "$1" || return 1
    done
}
# frames_a_page: the number of frames, in tenths, that are sent for each of 1024 pages written to one server,
# without retransmissions.
frames_a_page() {
    from=$(sent packets) pages=$(counter pages_out) again=$(counter retransmissions)
    fio_job --rw=write --bs=64k --ioengine=psync --size=4m >/dev/null || return 1
    echo $((($(sent packets) - from - ($(counter retransmissions) - again)) * 10 / ($(counter pages_out) - pages)))
}
for port_mtu in 1400 600; do
    ports_mtu $port_mtu || fail "ports of $port_mtu bytes"
    anemone_load size_mib=64 || fail "load over a path of $port_mtu bytes"
    load_begin --threads 2 --blocks 512
    load_progress "$(scaled 200)" || fail "a path of $port_mtu bytes: the load does not begin"
    ports_mtu 1500 || fail "ports of 1500 bytes"
    load_progress "$(scaled 200)" || fail "a path of 1500 bytes again: the load does not continue"
    ports_mtu $port_mtu || fail "ports of $port_mtu bytes"
    load_progress "$(scaled 200)" || fail "a path that becomes narrow, of $port_mtu bytes: the load does not continue"
    load_end || fail "the load over a path of $port_mtu bytes"
    nothing_failed || fail "some pages failed over a path of $port_mtu bytes"
    anemone_unload || fail "unload"
done
ports_mtu 1500 || fail "ports of 1500 bytes"

# No page crosses, on the path or from the interface, though shorter frames do: the servers count as silent. Requests
# wait for them once, for the I/O timeout, and not each for itself.
anemone_load size_mib=64 io_timeout_s=5 loss_timeout_s=5 || fail "load"
head -c 1048576 /dev/urandom >"$SCRATCH/random" || fail "no random bytes"
dd if="$SCRATCH/random" of=/dev/anemone bs=128k oflag=direct 2>/dev/null || fail "writing"
# read_each: tries to read 128 pages, one after the other.
read_each() {
    page=0 failed=0
    while [ $page -lt 128 ]; do
        dd if=/dev/anemone of=/dev/null bs=4096 count=1 skip=$page iflag=direct 2>/dev/null || failed=$((failed + 1))
        page=$((page + 1))
    done
    echo "failed $failed" >"$SCRATCH/read"
}
has_read() { [ -s "$SCRATCH/read" ]; }
is_too_narrow() { dmesg | grep -q "frames of 600 bytes do not cross the path"; }
for where in path interface; do
    dmesg -c >/dev/null
    if [ $where = path ]; then ports_mtu 500; else ip link set eth0 mtu 500; fi || fail "$where of 500 bytes"
    : >"$SCRATCH/read"
    read_each &
    wait_for 60 "$where of 500 bytes: 128 reads fail" has_read || fail "$where of 500 bytes: each read waits"
    grep -q "failed 128" "$SCRATCH/read" || fail "$where of 500 bytes: $(cat "$SCRATCH/read")"
    [ $where = interface ] || wait_for 30 "the log names the MTU" is_too_narrow || fail "not said: $(dmesg | tail)"
    ports_mtu 1500 && ip link set eth0 mtu 1500 || fail "1500 bytes"
    wait_for 30 "the servers again" mode_is network || fail "$where: $(anemonectl status)"
    dd if=/dev/anemone bs=128k count=8 iflag=direct 2>/dev/null | cmp -s - "$SCRATCH/random" || fail "$where: reading after that"
done
anemone_unload || fail "unload"

anemone_load size_mib=64 servers="$(servers 1)" replicas=1 || fail "load over an ordinary path"
tenths=$(frames_a_page) || fail "writing"
[ "$tenths" -lt 40 ] || fail "$tenths tenths of a frame for each page over an ordinary path, 30 are usual"
nothing_failed || fail "some pages failed over an ordinary path"
