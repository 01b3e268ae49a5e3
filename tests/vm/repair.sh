# shellcheck shell=sh disable=SC2015
# SPDX-License-Identifier: GPL-2.0
# What the tests of repair share: data that stays unchanged on the device while a load runs, and
# waiting until every page has its copies.

# Where the data begins, in pieces of 256 KiB: 16 MiB.
DATA_AT=64

# data_write MIB: random data on the device, after the load's. A copy of it is kept.
data_write() {
    dd if=/dev/urandom of="$SCRATCH/data" bs=1M count="$1" 2>/dev/null &&
        dd if="$SCRATCH/data" of="$ANEMONE_DEVICE" bs=256k oflag=direct seek=$DATA_AT conv=notrunc 2>/dev/null
}
# data_is_right: the data is still there, every byte.
data_is_right() {
    dd if="$ANEMONE_DEVICE" of="$SCRATCH/read" bs=256k iflag=direct skip=$DATA_AT \
        count=$(($(stat -c %s "$SCRATCH/data") / 262144)) 2>/dev/null && cmp "$SCRATCH/data" "$SCRATCH/read" && rm "$SCRATCH/read"
}

is_lost() { [ "$(health "$1")" = lost ]; }
# copying: the work that repair has done and has left, to see whether there is progress.
copying() { echo "$(counter pages_repaired) pages copied, $(counter repair_left) parts left"; }
is_repaired() { [ "$(counter repair_left)" = 0 ]; }
# repaired SECONDS: waits until every page has its copies; fails when repair has done nothing for SECONDS. It
# yields to requests, so the time that it takes depends on them.
repaired() {
    wait_moving "$1" "every page repaired" copying is_repaired ||
        { cat "$ANEMONE_DEBUG/counters" "$ANEMONE_DEBUG/servers" >&2; return 1; }
    say "repaired: $(counter pages_repaired) pages copied, $(counter repairs_cancelled) cancelled, $(counter repairs_failed) failed"
}
# kill_copied N: kills server N when no page has its only copy there: on a busy machine a server may seem
# silent, and page-outs end with one copy. $LOAD is stopped from the check until the server is dead.
kill_copied() {
    kill -STOP "$LOAD" && wait_for 60 "nothing in flight" idle &&
        wait_moving 60 "every page has its copies" copying is_repaired && disturb kill "$1"
    common_killed=$?
    kill -CONT "$LOAD" && [ $common_killed = 0 ] || { cat "$ANEMONE_DEBUG/counters" "$ANEMONE_DEBUG/servers" >&2; return 1; }
}
