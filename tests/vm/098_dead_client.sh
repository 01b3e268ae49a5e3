#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# what: a client dies while its pages fill the servers, and does not return: another client is refused until the lease is over, and then gets the room, within seconds and without an error
# machine: repair
# bound: 120
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

# Within the lease the pages stay, and there is no room for more than what is left. The client is not told when the
# lease is over: it asks again from time to time.
serve 20
fill
if data_write 20; then
    say "the lease was over before the servers were full"
else
    expect_more "page-outs refused for lack of room" 0 "$(counter pages_out_no_space)"
    wait_for 120 "room after the lease" data_write 20 || fail "$(cat "$ANEMONE_DEBUG/counters" "$ANEMONE_DEBUG/servers")"
fi
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
