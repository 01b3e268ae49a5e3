#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# what: a client that is cut off for three leases finds every page where it was
# machine: repair
# vm: --client-mem 224
# bound: 180
# debug: yes
# shellcheck source-path=SCRIPTDIR source=common.sh source=repair.sh disable=SC2015
. "$(dirname "$0")/common.sh"
. "$(dirname "$0")/repair.sh"

needs_single
requires anemone-test
LEASE_S=3
[ "$ANEMONE_SERVER" ] || skip "there is no memory server"
for server in 1 2; do
    # In place of the usual server, which has another lease.
    disturb kill $server || fail "kill $server"
    ip netns exec "server$server" "$ANEMONE_SERVER" --interface eth0 --capacity 64M --lease $LEASE_S >"$SCRATCH/server$server" 2>&1 &
done
anemone_load size_mib=48 servers="$(servers 1 2)" io_timeout_s=60 || fail "load: $(cat "$SCRATCH"/server?)"
data_write "$(scaled 8 4)" || fail "writing"
load_begin --threads 1 --blocks 1024
load_progress "$(scaled 200)" || fail "the load does not begin"

# The client's frames no longer arrive, while half of its frames are on their way.
netem 0 loss 100% || fail "netem"
from=$(anemone_seconds)
three_leases_over() { [ $(($(anemone_seconds) - from)) -gt $((3 * LEASE_S)) ]; }
wait_for 60 "three leases have passed" three_leases_over || fail "the clock is stopped"
load_runs || fail "the load ended: $(cat "$SCRATCH/load.out")"
netem_off 0 || fail "netem"
for server in 1 2; do
    wait_for 30 "server $server is used again" is_healthy $server || fail "$(cat "$ANEMONE_DEBUG/servers")"
done
load_progress "$(scaled 200)" || fail "the load does not continue"
data_is_right || fail "the pages are not what was written"
load_end || fail "the load"
nothing_failed || fail "some pages failed"
# An idle client keeps its lease by itself: no server asks it.
from=$(anemone_seconds)
wait_for 60 "three leases have passed" three_leases_over || fail "the clock is stopped"
data_is_right || fail "the pages are not what was written, after three idle leases"
anemone_unload || fail "unload"
