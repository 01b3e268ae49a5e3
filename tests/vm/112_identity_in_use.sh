#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# what: a machine whose identity another live machine has is not served: loading fails with EBUSY, or only the disk is used, until the other machine is gone
# machine: disk
# bound: 120
# debug: yes
# shellcheck source-path=SCRIPTDIR source=common.sh source=disk.sh disable=SC2015
. "$(dirname "$0")/common.sh"
. "$(dirname "$0")/disk.sh"

needs_single
requires anemone-test anemonectl
ID=00112233445566778899aabbccddeeff
address=$(cat /sys/class/net/eth0/address)
restore() {
    restore_status=$1
    ip link del other 2>/dev/null
    ip link set eth0 down && ip link set eth0 address "$address" && ip link set eth0 up
    common_end "$restore_status"
}
trap 'restore $?' EXIT

# The other machine: it opens sessions, and later all that is left of it is its answers.
anemone_load size_mib=64 client_id=$ID || fail "load on the other machine"
ip link set eth0 down && anemone_unload || fail "unload without a BYE"
ip link set eth0 address 02:00:00:00:77:02 && ip link set eth0 up || fail "another address"
ip link add other address "$address" type veth peer name other netns switch && ip link set other up &&
    ip -n switch link set other mtu 1500 master br0 up || fail "the other machine's interface"
anemone-test alive --interface other >"$SCRATCH/alive" 2>&1 &
other=$!
wait_for 10 "the other machine's answers" grep -q alive "$SCRATCH/alive" || fail "$(cat "$SCRATCH/alive")"

dmesg -c >/dev/null
insmod "$ANEMONE_MODULE" interface=eth0 servers="$ANEMONE_SERVERS" size_mib=64 client_id=$ID 2>"$SCRATCH/error" && fail "loaded with the identity of a live machine"
grep -qi "$(errno_text EBUSY)" "$SCRATCH/error" || fail "refused otherwise: $(cat "$SCRATCH/error"; dmesg)"
dmesg | grep -q "anemone: servers have a live session of a client with this identity; give this one another client_id=" || fail "not logged: $(dmesg)"
nothing_left || fail "something is left"
[ "$(grep -c answered "$SCRATCH/alive")" -ge 3 ] || fail "not every server asked the other machine: $(cat "$SCRATCH/alive")"

anemone_load size_mib=64 client_id=ffeeddccbbaa99887766554433221100 || fail "load with another identity"
for server in 1 2 3; do is_healthy $server || fail "server $server does not serve the other identity"; done
anemone_unload || fail "unload"

# With a local disk the device works without servers. The log and the status name the reason.
dmesg -c >/dev/null
anemone_load size_mib=64 client_id=$ID local_device="$ANEMONE_DISK" || fail "load with a disk"
is_logged() { dmesg | grep -q "anemone: server $(servers "$1"): refused: another machine has a live session with this identity"; }
for server in 1 2 3; do
    wait_for 20 "a message about server $server" is_logged $server || fail "$(dmesg)"
done
# Every five seconds servers ask the other machine again, and refuse for another reason meanwhile.
is_shown() { [ "$(anemonectl status | grep -c "another machine has this identity")" = 3 ]; }
wait_for 20 "the reason in the status" is_shown || fail "$(anemonectl status)"
random_file "$SCRATCH/random" 262144
put_all "$SCRATCH/random" 1 || fail "writing to the disk alone"
same_as "$SCRATCH/random" 1 || fail "reading from the disk alone"

# When the other machine is gone, this one is served.
kill $other
for server in 1 2 3; do
    wait_for 60 "server $server" is_healthy $server || fail "$(cat "$ANEMONE_DEBUG/servers"; anemonectl status)"
done
same_as "$SCRATCH/random" 1 || fail "reading, with servers"
nothing_failed || fail "some pages failed"
wait_for 20 "rmmod" anemone_unload || fail "unload"
