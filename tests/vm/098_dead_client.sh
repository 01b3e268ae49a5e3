#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# what: a client dies while its pages fill the servers, and does not return: another client is refused until the lease is over, and then gets the room, within seconds and without an error
# machine: repair
# bound: 180
# debug: yes
# shellcheck source-path=SCRIPTDIR source=common.sh source=repair.sh disable=SC2015
. "$(dirname "$0")/common.sh"
. "$(dirname "$0")/repair.sh"

needs_single
requires anemone-test
[ "$ANEMONE_SERVER" ] || skip "there is no memory server"
for server in 1 2; do disturb kill $server || fail "kill $server"; done
pids=
# serve LEASE: small, empty servers in place of the usual ones.
serve() {
    for pid in $pids; do kill "$pid" && wait "$pid"; done
    pids=
    for server in 1 2; do
        ip netns exec "server$server" "$ANEMONE_SERVER" --interface eth0 --capacity 24M --lease "$1" >"$SCRATCH/server$server" 2>&1 &
        pids="$pids $!"
    done
}
# All that fits: data_write begins at 16 MiB of the device.
load() { anemone_load size_mib=36 overcommit=1 servers="$(servers 1 2)" client_id="$1" io_timeout_s=60; }
# die: as if the machine had lost its power: no server hears a BYE.
die() {
    ip link set eth0 down && anemone_unload && ip link set eth0 up || fail "the first client does not die"
}
fill() {
    load 0000000000000000000000000000000a || fail "load: $(cat "$SCRATCH"/server?)"
    data_write 20 || fail "the first client's pages"
    die
    load 0000000000000000000000000000000b || fail "load of the other client"
}
put_one() { dd if=/dev/urandom of="$ANEMONE_DEVICE" bs=4k count=1 oflag=direct seek=$((DATA_AT * 64 + $1)) conv=notrunc 2>/dev/null; }
# refused_from PAGE: writes one page after another until one is refused.
refused_from() {
    page=$1
    while put_one "$page"; do page=$((page + 1)); done
    [ "$page" -lt 5120 ]
}

# Within the lease the pages stay, and there is no room for more than what is left.
serve 10
fill
refused_from 0 || fail "the servers are not full"
expect_more "page-outs refused for lack of room" 0 "$(counter pages_out_no_space)"
# The client is not told when the lease is over: it asks again from time to time.
wait_for 60 "room after the lease" put_one "$page" || fail "$(cat "$ANEMONE_DEBUG/counters" "$ANEMONE_DEBUG/servers")"
data_write 20 || fail "the pages of the client that lives"
data_is_right || fail "the pages are not what was written"
anemone_unload || fail "unload"

# The lease is over before anybody needs the room: page-outs wait for the challenges, and none fails.
serve 2
fill
from=$(anemone_seconds)
lease_is_over() { [ $(($(anemone_seconds) - from)) -gt 4 ]; }
wait_for 60 "the lease is over" lease_is_over || fail "the clock is stopped"
data_write 20 || fail "the pages of the client that lives"
data_is_right || fail "the pages are not what was written"
[ "$(counter pages_out_no_space)" = 0 ] || fail "$(counter pages_out_no_space) page-outs were refused"
nothing_failed || fail "some pages failed"
anemone_unload || fail "unload"
