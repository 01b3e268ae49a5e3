#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# what: a client that lost its state returns under the same identity and gets its room back; loading waits for servers if it is configured to
# machine: segment
# vm: --servers 2 --client-mem 256 --uuid 03000200-0400-0500-0006-000700080009
# bound: 240
# debug: yes
# shellcheck source-path=SCRIPTDIR source=common.sh disable=SC2015
. "$(dirname "$0")/common.sh"

needs_single
[ "$ANEMONE_SERVER" ] || skip "there is no memory server"
identity() { dmesg | sed -n 's/.*anemone: client \([0-9a-f]\{32\}\), from \(.*\)/\1 \2/p' | tail -n 1; }
serve() {
    for server in 1 2; do
        ip netns exec "server$server" "$ANEMONE_SERVER" --interface eth0 --capacity 24M >"$SCRATCH/server$server" 2>&1 &
    done
}
# fill: more than half of what the servers have, so that it fits only once.
fill() { dd if=/dev/urandom of="$ANEMONE_DEVICE" bs=256k count=56 oflag=direct 2>"$SCRATCH/dd"; }
# killed: the module goes without a BYE, as with a power failure.
killed() {
    ip link set eth0 down && anemone_unload || fail "unload"
    ip link set eth0 up || fail "eth0 up"
}

for server in 1 2; do
    # In place of the usual server, which has more space.
    disturb kill $server || fail "kill $server"
done
refused EINVAL "client_id=xyz: not 32 hexadecimal digits" interface=eth0 servers="$ANEMONE_SERVERS" client_id=xyz
refused EINVAL "wait=86401 is out of range" interface=eth0 servers="$ANEMONE_SERVERS" wait=86401

# No server is up yet.
anemone_load size_mib=16 wait=120 connect_ms=200 &
loading=$!
says_waiting() { dmesg | grep -q 'anemone: 0 of 2 servers answered: waiting up to 120 s for 2'; }
wait_for 30 "that it waits" says_waiting || fail "it does not say that it waits"
[ ! -e "$ANEMONE_DEVICE" ] || fail "there is a device without servers"
serve
wait "$loading" || fail "it was not loaded when its servers came: $(cat "$SCRATCH"/server?)"
for server in 1 2; do
    is_healthy $server || fail "server $server is not up"
done
first=$(identity)
case $first in
# Many machines have this UUID, so it identifies none.
*"the interface's address") say "client $first" ;;
*) fail "no lasting identity of its own: $first" ;;
esac
fill || fail "filling: $(cat "$SCRATCH/dd")"

for round in 1 2 3; do
    killed
    anemone_load size_mib=16 || fail "round $round: not loaded: $(dmesg | tail -n 20)"
    [ "$(identity)" = "$first" ] || fail "round $round: $(identity), not $first"
    for server in 1 2; do
        is_healthy $server || fail "round $round: server $server does not serve it"
    done
    # The old session's pages there do not get in the way.
    fill || fail "round $round: $(cat "$SCRATCH/dd" "$ANEMONE_DEBUG/servers")"
    [ "$(counter pages_out_degraded)" = 0 ] || fail "round $round: $(counter pages_out_degraded) pages with one copy"
    nothing_failed || fail "round $round: some pages failed"
done

# An identity that the administrator gives, with and without hyphens.
anemone_unload || fail "unload"
anemone_load size_mib=16 client_id=00112233-4455-6677-8899-AABBCCDDEEFF || fail "client_id="
[ "$(identity)" = "00112233445566778899aabbccddeeff client_id=" ] || fail "$(identity)"
fill || fail "filling once more"
nothing_failed || fail "some pages failed"
anemone_unload || fail "unload"
# No server comes: loading ends by itself, and leaves nothing.
# shellcheck disable=SC2046 # a list of processes
kill -KILL $(jobs -p)
dmesg -c >/dev/null
insmod "$ANEMONE_MODULE" interface=eth0 servers="$ANEMONE_SERVERS" connect_ms=200 wait=1 2>"$SCRATCH/error" && fail "loaded without a server"
grep -qi "$(errno_text EHOSTUNREACH)" "$SCRATCH/error" || fail "$(cat "$SCRATCH/error")"
nothing_left || fail "something is left"
