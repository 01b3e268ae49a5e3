#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# what: one server after the other is killed and restarts empty, and its pages are copied: no byte is wrong
# machine: repair
# bound: 280
# debug: yes
# shellcheck source-path=SCRIPTDIR source=common.sh source=repair.sh disable=SC2015
. "$(dirname "$0")/common.sh"
. "$(dirname "$0")/repair.sh"

requires anemone-test
# Two copies always: on a busy machine a page might have its only one on the server that is killed.
anemone_load size_mib=48 loss_timeout_s=2 min_copies=2 || fail "load"
data_write "$(scaled 12 3)" || fail "write"
load_begin --threads 2 --blocks 1024
load_progress "$(scaled 200)" || fail "the load does not begin"
for server in 1 2 3 1; do
    before=$(counter pages_repaired)
    disturb kill $server && host start $server || fail "kill and start $server"
    wait_for 40 "the new server $server is used" is_healthy $server || fail "$(cat "$ANEMONE_DEBUG/servers")"
    load_progress "$(scaled 100)" || fail "the load does not continue"
    rises() { [ "$(counter pages_repaired)" -gt "$before" ]; }
    wait_moving 60 "pages repaired" copying rises || fail "nothing was repaired: $(cat "$ANEMONE_DEBUG/counters")"
    repaired 60 || fail "no repair"
done
data_is_right || fail "the data is not what was written"
load_end || fail "the load"
nothing_failed || fail "some pages failed"
