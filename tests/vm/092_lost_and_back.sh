#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# what: a server that counted as lost comes back with its pages: INVENTORY lists them, and those that others have are freed
# machine: repair
# bound: 200
# debug: yes
# shellcheck source-path=SCRIPTDIR source=common.sh source=repair.sh disable=SC2015
. "$(dirname "$0")/common.sh"
. "$(dirname "$0")/repair.sh"

requires anemone-test
anemone_load size_mib=48 loss_timeout_s=2 || fail "load"
data_write "$(scaled 16 4)" || fail "write"
incarnation() { sed -n "s/.* mac $(servers "$1") .* incarnation \([0-9a-f]*\).*/\1/p" "$ANEMONE_DEBUG/servers" | tail -n 1; }
was=$(incarnation 2)
disturb pause 2 || fail "pause"
load_begin --threads 2 --blocks 512
wait_for 30 "server 2 is lost" is_lost 2 || fail "$(cat "$ANEMONE_DEBUG/servers")"
logged() { [ "$(dmesg | grep -c "anemone: server $(servers 2): $1")" = 1 ]; }
wait_for 10 "a line in the log" logged "has not answered for the loss timeout" || fail "the loss is not logged: $(dmesg | tail)"
repaired 60 || fail "no repair"
expect_more "pages repaired" 0 "$(counter pages_repaired)"
data_is_right || fail "the data is not what was written, without server 2"
load_end || fail "the load"
host resume 2 || fail "resume"
wait_for 30 "server 2 is used again" is_healthy 2 || fail "$(cat "$ANEMONE_DEBUG/servers")"
wait_for 10 "a line in the log" logged "answers again" || fail "the return is not logged: $(dmesg | tail)"
[ "$(incarnation 2)" = "$was" ] || fail "it is another: $was, then $(incarnation 2)"
# The others have all of its pages: it must free them.
is_empty() { [ "$(server_field 2 free_pages)" -ge $(($(server_field 2 capacity_pages) - 64)) ]; }
wait_for 60 "server 2 has freed what others have" is_empty || fail "$(cat "$ANEMONE_DEBUG/servers")"
data_is_right || fail "the data is not what was written, with server 2"
load_begin --threads 2 --blocks 512
load_progress "$(scaled 200)" || fail "no load with server 2"
load_end || fail "the load with server 2"
nothing_failed || fail "some pages failed"
