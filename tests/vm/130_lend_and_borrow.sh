#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# what: a machine lends and borrows memory on one interface; announcements reach others; a stranger's frames take no slot
# machine: segment
# bound: 120
# debug: yes
# shellcheck source-path=SCRIPTDIR source=common.sh disable=SC2015
. "$(dirname "$0")/common.sh"

needs_single
requires anemone-test fio
OWN=$(cat /sys/class/net/eth0/address)
serving() { grep -q ready "$SCRATCH/server"; }

# The switch returns what the client sends to itself, so it can be its own server as well.
ip -n switch link set client type bridge_slave hairpin on || fail "hairpin"

# First the module, which has used the interface alone, then the server.
anemone_load size_mib=64 servers="$(servers 1),$OWN" || fail "load"
NO_COLOR=1 "$ANEMONE_SERVER" --interface eth0 --capacity 40M >"$SCRATCH/server" 2>&1 &
wait_for 20 "a server beside the module" serving || fail "$(cat "$SCRATCH/server")"
wait_for 20 "the module uses it" grep -q "mac $OWN health up" "$ANEMONE_DEBUG/servers" ||
    fail "$(cat "$ANEMONE_DEBUG/servers" "$SCRATCH/server")"

# Both copies of each page, one of them here: pages are read from both.
fio_verify --rw=randwrite --bs=4k --ioengine=psync --size=32m --io_size="$(scaled 32)m" --numjobs=1 || fail "verify"
nothing_failed || fail "some pages failed"
[ "$(counter pages_out_degraded)" = 0 ] || fail "copies are missing: $(cat "$ANEMONE_DEBUG/counters")"
disturb kill 1 || fail "kill"
fio_verify --rw=write --bs=4k --ioengine=psync --size=8m || fail "from the own server alone"
nothing_failed || fail "some pages failed with the own server alone"
host start 1 || fail "start"
wait_for 30 "server 1 is back" is_healthy 1 || fail "$(cat "$ANEMONE_DEBUG/servers")"

# A listener to the EtherType receives every announcement and every request for the server here, and none
# of the answers to the module.
anemone-test listen --interface eth0 --until announce=3,write=50 >"$SCRATCH/listened" 2>&1 &
LISTENER=$!
wait_for 10 "a listener" grep -q listening "$SCRATCH/listened" || fail "$(cat "$SCRATCH/listened")"
fio_verify --rw=randwrite --bs=4k --ioengine=psync --size=4m || fail "verify beside a listener"
wait $LISTENER || fail "the listener: $(cat "$SCRATCH/listened")"
say "$(cat "$SCRATCH/listened")"
! grep -q write_ack "$SCRATCH/listened" || fail "answers to the module are shown to others: $(cat "$SCRATCH/listened")"

# Restores the switch.
ip -n switch link set client type bridge_slave hairpin off || fail "hairpin"
# A stranger: an announcement and a REJECT without a session, from an address that is not a server's.
foreign=$(counter frames_foreign) bad=$(counter frames_bad)
ip netns exec server2 anemone-test forge --interface eth0 --to "$OWN" --count 500 || fail "forging"
forged_have_come() { [ "$(counter frames_foreign)" -ge $((foreign + 1000)) ]; }
wait_for 10 "the forged frames have come" forged_have_come || fail "foreign: $foreign, then $(counter frames_foreign)"
[ "$(counter frames_dropped)" = 0 ] || fail "they take places in the inbox: $(cat "$ANEMONE_DEBUG/counters")"
[ "$(counter frames_bad)" = "$bad" ] || fail "intact frames count as bad"
nothing_failed || fail "some pages failed"
anemone_unload || fail "unload"
