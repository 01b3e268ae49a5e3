#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# what: pages that frames keep after their answer has arrived are all released, while a machine swaps (136: how soon)
# machine: segment
# bound: 120
# debug: yes
# shellcheck source-path=SCRIPTDIR source=common.sh disable=SC2015
. "$(dirname "$0")/common.sh"

needs_single
requires anemone-test
none_lingers() { [ "$(counter pages_lingering)" = 0 ]; }
# Each frame is sent twice, each after a delay of its own. The second copy, which holds the same pages, mostly
# leaves after the first has been answered.
netem 0 delay 2ms 2ms duplicate 100% || fail "netem"
# A sealed page is not the program's.
anemone_load encrypt=0 size_mib=104 || fail "load"
anemone_swapon || fail "swapon"
scan=$(vmstat_value pgscan_anon) steal=$(vmstat_value pgsteal_anon)
within 32 anemone-test pages --mib "$(scaled 96 2)" --passes 1 >"$SCRATCH/pages" 2>&1 || fail "$(cat "$SCRATCH/pages")"
scan=$(($(vmstat_value pgscan_anon) - scan)) steal=$(($(vmstat_value pgsteal_anon) - steal))
lingered=$(counter pages_lingered)
[ "$lingered" -gt 100 ] || fail "only $lingered pages were kept by frames"
# Without the module's checks, pages would be kept until their ops are used again, the last ones without end. How long
# they are kept shows nothing here: 10 ms each on a busy machine, and 30 ms with a check each second.
wait_for 10 "no page is kept any more" none_lingers || fail "$(counter pages_lingering) pages are kept"
say "$lingered of $(counter pages_out) pages out were kept, $(($(counter linger_sum_ns) / lingered / 1000)) us each, $(counter linger_max_ns) ns at most; $scan pages scanned, $steal reclaimed"
nothing_failed || fail "some pages failed"
swapoff "$ANEMONE_DEVICE" || fail "swapoff"
