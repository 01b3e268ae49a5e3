#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# what: every page is complete on each of its two servers: either alone can be read
# machine: segment
# vm: --file tests/vm/repair.sh
# bound: 180
# debug: yes
# shellcheck source-path=SCRIPTDIR source=common.sh source=repair.sh disable=SC2015
. "$(dirname "$0")/common.sh"
. "$(dirname "$0")/repair.sh"

mib=$(scaled 8 2)
# Both copies, even if the host is so busy that a server seems silent, and no repair makes them later.
anemone_load size_mib=64 servers="$(servers 1 2)" min_copies=2 repair_pages_per_s=0 || fail "load"
head -c $((mib << 20)) /dev/urandom >"$SCRATCH/older"
head -c $((mib << 20)) /dev/urandom >"$SCRATCH/random"
for version in older random; do
    dd if="$SCRATCH/$version" of="$ANEMONE_DEVICE" bs=256k oflag=direct 2>/dev/null || fail "writing"
done
same() {
    dd if="$ANEMONE_DEVICE" bs=256k count=$((mib * 4)) iflag=direct 2>/dev/null | cmp - "$SCRATCH/random" || fail "$1"
}
same "with both servers"
for number in 1 2; do
    disturb pause $number || fail "pause"
    same "without server $number"
    missed() { ! is_healthy "$number"; }
    wait_for 20 "server $number is missed" missed || fail "server $number does not stop"
    host resume $number && wait_for 20 "server $number is back" is_healthy $number || fail "resume"
done
anemone_unload && anemone_load size_mib=64 servers="$(servers 1 2)" || fail "load"
dd if="$SCRATCH/random" of="$ANEMONE_DEVICE" bs=256k oflag=direct 2>/dev/null || fail "writing"
# For good: the machine is gone, with half of all copies.
repaired 60 && disturb kill 2 || fail "kill"
same "after server 2's end"
# A page with one copy left is written again: it is degraded, and counted.
dd if="$SCRATCH/random" of="$ANEMONE_DEVICE" bs=256k count=4 oflag=direct 2>/dev/null || fail "writing with one server"
[ "$(counter pages_out_degraded)" -ge 256 ] || fail "only $(counter pages_out_degraded) pages are counted as degraded"
same "written with one server"
[ "$(counter pages_in_failed)" = 0 ] || fail "some pages failed"
