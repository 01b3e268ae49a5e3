#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# what: a server stops for seconds and continues: no request fails, and its pages are valid
# machine: segment
# bound: 180
# debug: yes
# shellcheck source-path=SCRIPTDIR source=common.sh disable=SC2015
. "$(dirname "$0")/common.sh"

requires anemone-test
# Three servers, so that each page has two copies even while one is stopped.
anemone_load size_mib=64 min_copies=2 || fail "load"
load_begin --threads 2 --blocks 512
load_progress "$(scaled 200)" || fail "the load does not begin"
for number in $(server_numbers); do
    incarnation=$(sed -n "s/.* mac $(servers "$number") .*incarnation //p" "$ANEMONE_DEBUG/servers")
    disturb pause "$number" || fail "pause"
    load_progress "$(scaled 200)" || fail "the load does not continue without server $number"
    missed() { ! is_healthy "$number"; }
    wait_for 20 "server $number is missed" missed || fail "server $number does not stop"
    host resume "$number" && wait_for 20 "server $number is back" is_healthy "$number" || fail "resume"
    grep -q "mac $(servers "$number") .*incarnation $incarnation" "$ANEMONE_DEBUG/servers" || fail "server $number is taken for another"
    load_progress "$(scaled 200)" || fail "the load does not continue with server $number again"
done
# All of them: requests wait.
for number in $(server_numbers); do disturb pause "$number" || fail "pause"; done
wait_for 30 "a load that waits" is_stalled || fail "the load continues without servers"
for number in $(server_numbers); do host resume "$number" || fail "resume"; done
load_progress "$(scaled 200)" || fail "the load does not continue"
load_end || fail "the load"
nothing_failed || fail "some pages failed"
