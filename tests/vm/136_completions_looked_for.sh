#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# what: a page that its frame keeps after the page-out has ended is released soon after the frame has gone
# machine: segment
# vm: --icount --servers 2
# bound: 120
# debug: no, its time is a count of instructions, of which that kernel needs twenty times as many
# shellcheck source-path=SCRIPTDIR source=common.sh disable=SC2015
. "$(dirname "$0")/common.sh"

needs_single
none_lingers() { [ "$(counter pages_lingering)" = 0 ] && idle; }
# Each frame is sent twice, each within two milliseconds: the second copy keeps the page for that long at most.
netem 0 delay 1ms 1ms duplicate 100% || fail "netem"
anemone_load encrypt=0 size_mib=64 || fail "load"
head -c 4096 /dev/urandom >"$SCRATCH/page"
# One at a time: otherwise one page's check finds what another's should find. Time is counted in instructions.
for page in $(seq 1 60); do
    dd if="$SCRATCH/page" of="$ANEMONE_DEVICE" bs=4k count=1 seek="$page" oflag=direct 2>/dev/null || fail "page $page"
    wait_for 10 "no page is kept any more" none_lingers || fail "$(counter pages_lingering) pages are kept"
done
lingered=$(counter pages_lingered)
[ "$lingered" -ge 20 ] || fail "only $lingered pages were kept by frames"
mean=$(($(counter linger_sum_ns) / lingered)) longest=$(counter linger_max_ns)
say "$lingered of $(counter pages_out) page-outs were kept, $((mean / 1000)) us each, $((longest / 1000)) us at most"
# Checks come 0.1, 0.3, 0.7, 1.5 and 3.1 ms after the end: the mean is 1.1 to 1.4 ms. With one every 10 ms it was 6.8.
[ "$mean" -lt 3500000 ] || fail "they were kept $mean ns each"
nothing_failed || fail "some pages failed"

# Frames keep sealed pages, which are the module's own.
anemone_unload && anemone_load size_mib=64 || fail "load"
dd if=/dev/urandom of="$ANEMONE_DEVICE" bs=4k count=60 oflag=direct 2>/dev/null || fail "writing"
[ "$(counter pages_lingered)" = 0 ] || fail "$(counter pages_lingered) pages were kept"
