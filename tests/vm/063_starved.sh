#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# what: a machine that swaps out several times its memory, with next to none in reserve and others allocating atomically
# vm: --servers 2 --server-mem 256 --client-mem 96 --disk 256 --file tests/vm/common.sh --file build/anemone-test
# bound: 420
# draft: written, not seen to pass yet
# shellcheck source-path=SCRIPTDIR source=common.sh disable=SC2015
. "$(dirname "$0")/common.sh"

needs_machines
requires anemone-test
echo 10 >/proc/sys/vm/watermark_scale_factor
echo 512 >/proc/sys/vm/min_free_kbytes

# Answers to datagrams are allocated in softirq, from the same reserve.
storm_begin() {
    : >"$SCRATCH/storm"
    anemone-test storm --while "$SCRATCH/storm" >"$SCRATCH/storm.out" 2>&1 &
    STORM=$!
}
storm_end() { rm -f "$SCRATCH/storm" && wait "$STORM" && cat "$SCRATCH/storm.out" >&2; }

# The load: 192 MiB of pages that know their address and version.
load() {
    storm_begin
    anemone-test pages --mib 192 --passes 2 >"$SCRATCH/pages" 2>&1
    load_status=$?
    storm_end
    return $load_status
}

mkswap "$ANEMONE_DISK" >/dev/null && swapon "$ANEMONE_DISK" || fail "swap on the disk"
load || skip "on an ordinary disk the load does not end either: $(tail -n 1 "$SCRATCH/pages")"
swapoff "$ANEMONE_DISK" || fail "swapoff of the disk"
dmesg -c >/dev/null

anemone_load size_mib=240 replicas=2 || fail "load"
anemone_swapon || fail "swapon"
out=$(counter pages_out)
load || fail "on the network it does not end: $(cat "$SCRATCH/pages")"
expect_more "pages out" $((out + 40000)) "$(counter pages_out)"
[ "$(counter pages_in_failed)" = 0 ] && [ "$(counter pages_out_failed)" = 0 ] || fail "some pages failed"
swapoff "$ANEMONE_DEVICE" || fail "swapoff"
