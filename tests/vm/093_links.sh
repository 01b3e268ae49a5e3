#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# what: each link is cut and restored, then all at once: requests wait, no byte is wrong
# machine: repair
# bound: 280
# debug: yes
# shellcheck source-path=SCRIPTDIR source=common.sh source=repair.sh disable=SC2015
. "$(dirname "$0")/common.sh"
. "$(dirname "$0")/repair.sh"

requires anemone-test
anemone_load size_mib=48 loss_timeout_s=2 io_timeout_s=60 || fail "load"
data_write "$(scaled 12 3)" || fail "write"
load_begin --threads 2 --blocks 1024
load_progress "$(scaled 100)" || fail "the load does not begin"
for server in 1 2 3; do
    disturb link $server down || fail "link $server down"
    wait_for 30 "server $server is lost" is_lost $server || fail "$(cat "$ANEMONE_DEBUG/servers")"
    load_progress "$(scaled 100)" || fail "the load does not continue without server $server"
    host link $server up || fail "link $server up"
    wait_for 30 "server $server is used again" is_healthy $server || fail "$(cat "$ANEMONE_DEBUG/servers")"
    repaired 60 || fail "no repair"
done
for server in 1 2 3; do
    disturb link $server down || fail "link $server down"
done
for server in 1 2 3; do
    wait_for 40 "server $server is lost" is_lost $server || fail "$(cat "$ANEMONE_DEBUG/servers")"
done
wait_for 20 "no progress" is_stalled || fail "there is progress without any server"
for server in 1 2 3; do
    host link $server up || fail "link $server up"
done
load_progress "$(scaled 100)" || fail "the load does not continue"
repaired 60 || fail "no repair"
data_is_right || fail "the data is not what was written"
load_end || fail "the load"
nothing_failed || fail "some pages failed"
