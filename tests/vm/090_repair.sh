#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# what: a server dies under load, its pages are copied to others, then another dies: no byte is wrong
# machine: repair
# bound: 240
# kinds: cfi rt
# debug: yes
# shellcheck source-path=SCRIPTDIR source=common.sh source=repair.sh disable=SC2015
. "$(dirname "$0")/common.sh"
. "$(dirname "$0")/repair.sh"

requires anemone-test
anemone_load size_mib=48 loss_timeout_s=2 || fail "load"
data_write "$(scaled 16 4)" || fail "write"
load_begin --threads 2 --blocks 1024
load_progress "$(scaled 200)" || fail "the load does not begin"
kill_copied 2 || fail "kill"
wait_for 30 "server 2 is lost" is_lost 2 || fail "$(cat "$ANEMONE_DEBUG/servers")"
repaired 60 || fail "no repair"
expect_more "pages repaired" 0 "$(counter pages_repaired)"
load_progress "$(scaled 200)" || fail "the load does not continue without server 2"
kill_copied 1 || fail "kill"
load_progress "$(scaled 200)" || fail "the load does not continue with server 3 alone"
data_is_right || fail "the data is not what was written"
load_end || fail "the load"
nothing_failed || fail "some pages failed"
