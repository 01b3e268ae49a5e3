#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# what: pages filled with one nonzero word are sent as a header, nearly filled ones whole
# machine: segment
# bound: 120
# debug: yes
# shellcheck source-path=SCRIPTDIR source=common.sh disable=SC2015
. "$(dirname "$0")/common.sh"

# Both copies before a write ends, and none later: the test counts what is sent.
anemone_load size_mib=64 min_copies=2 repair_pages_per_s=0 || fail "load"
sent() { cat /sys/class/net/eth0/statistics/tx_bytes; }
put() { dd if="$1" of="$ANEMONE_DEVICE" bs=256k oflag=direct seek="${2:-0}" 2>/dev/null || fail "writing"; }
same() {
    dd if="$ANEMONE_DEVICE" of="$SCRATCH/back" bs=256k iflag=direct count=16 2>/dev/null && cmp "$1" "$SCRATCH/back" ||
        fail "$2 came back otherwise"
}
yes ABCDEFG | head -c 4194304 >"$SCRATCH/filled"
head -c 4194304 /dev/urandom >"$SCRATCH/random"
# One byte of every page differs: the last one, or one in the middle.
tr '\n' '\n' <"$SCRATCH/filled" >"$SCRATCH/nearly"
page=0
while [ $page -lt 1024 ]; do
    printf x | dd of="$SCRATCH/nearly" bs=1 seek=$((page * 4096 + (page % 2 ? 4095 : 2056))) conv=notrunc 2>/dev/null
    page=$((page + 64))
done

from=$(sent)
put "$SCRATCH/random"
[ $(($(sent) - from)) -gt 8388608 ] || fail "two copies of 4 MiB were only $(($(sent) - from)) bytes on the wire"
filled=$(counter same_filled_out) from=$(sent)
put "$SCRATCH/filled"
[ $(($(counter same_filled_out) - filled)) = 1024 ] || fail "$(($(counter same_filled_out) - filled)) pages of 1024 were found to be filled"
[ $(($(sent) - from)) -lt 800000 ] || fail "1024 headers, twice, were $(($(sent) - from)) bytes on the wire"
before=$(counter same_filled_in)
same "$SCRATCH/filled" "filled pages"
[ $(($(counter same_filled_in) - before)) = 1024 ] || fail "$(($(counter same_filled_in) - before)) pages of 1024 came as a header"
filled=$(counter same_filled_out)
put "$SCRATCH/nearly"
[ $(($(counter same_filled_out) - filled)) = 1008 ] || fail "$(($(counter same_filled_out) - filled)) pages were found to be filled, not 1008"
same "$SCRATCH/nearly" "nearly filled pages"
put "$SCRATCH/random"
same "$SCRATCH/random" "random pages over filled ones"
