#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# what: a program with a memory limit is swapped to the device, and the module and the kernel count the same pages
# machine: segment
# bound: 180
# kinds: cfi rt
# debug: yes
# shellcheck source-path=SCRIPTDIR source=common.sh disable=SC2015
. "$(dirname "$0")/common.sh"

requires anemone-test
anemone_load size_mib=64 || fail "load"
anemone_swapon || fail "swapon"
out=$(vmstat_value pswpout) in=$(vmstat_value pswpin) pages_out=$(counter pages_out) pages_in=$(counter pages_in)
within 6 anemone-test pages --mib 12 --passes 2 --threads 2 --fork || fail "the program"
wait_for 20 "nothing in flight" idle || fail "requests are in flight"
out=$(($(vmstat_value pswpout) - out)) in=$(($(vmstat_value pswpin) - in))
pages_out=$(($(counter pages_out) - pages_out)) pages_in=$(($(counter pages_in) - pages_in))
say "pages out: $pages_out, by the kernel $out; in: $pages_in, by the kernel $in"
[ "$pages_out" -ge 1500 ] || fail "only $pages_out pages were paged out"
[ "$out" = "$pages_out" ] || fail "the kernel paged $out pages out, the module $pages_out"
[ "$in" = "$((pages_in + $(counter unwritten_in)))" ] || [ "$in" = "$pages_in" ] || fail "the kernel paged $in pages in, the module $pages_in"
swapoff "$ANEMONE_DEVICE" || fail "swapoff"
# swapoff and swapon again, while pages are swapped out.
anemone_swapon || fail "swapon again"
anemone-test dirty --mib 4 --hold "$SCRATCH/hold" >"$SCRATCH/dirty" 2>&1 &
program=$!
wait_for 60 "a program that is paged out" test -e "$SCRATCH/hold" || fail "$(cat "$SCRATCH/dirty")"
swapoff "$ANEMONE_DEVICE" || fail "swapoff while pages were out"
rm "$SCRATCH/hold"
wait $program || fail "after swapoff: $(cat "$SCRATCH/dirty")"
