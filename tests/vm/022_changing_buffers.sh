#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# what: direct writes from memory that changes meanwhile: both copies of each page are equal
# machine: segment
# bound: 180
# debug: yes
# shellcheck source-path=SCRIPTDIR source=common.sh disable=SC2015
. "$(dirname "$0")/common.sh"

requires anemone-test
copy() {
    dd if="$ANEMONE_DEVICE" of="$SCRATCH/copy$1" bs=4k count=512 iflag=direct conv=noerror,sync 2>/dev/null
}
# Until it has happened: how often a page changes while it is sent is a matter of chance. One that is sealed does not.
changed() { [ "$(counter pages_changed)" -ge "$few" ] && [ "$(netem_dropped 0)" -ge 50 ] || ! kill -0 "$program" 2>/dev/null; }
for encrypt in 0 1; do
    few=$((50 * (1 - encrypt)))
    anemone_load encrypt=$encrypt size_mib=32 min_copies=2 servers="$(servers 1 2)" || fail "load"
    # With loss, so that fragments of one page are sent at different times.
    netem 0 loss 5% || fail "netem"
    : >"$SCRATCH/go"
    anemone-test changing --blocks 512 --length 8 --while "$SCRATCH/go" &
    program=$!
    wait_moving 60 "pages that change while they are sent" moved changed || fail "none changes"
    kill -0 $program 2>/dev/null && rm "$SCRATCH/go" && wait $program || fail "the program"
    netem_off 0
    wait_for 20 "nothing in flight" idle || fail "requests are in flight"
    disturb pause 1 && copy 2 && host resume 1 && wait_for 20 "server 1 is back" is_healthy 1 || fail "server 2's copy"
    disturb pause 2 && copy 1 && host resume 2 && wait_for 20 "server 2 is back" is_healthy 2 || fail "server 1's copy"
    cmp "$SCRATCH/copy1" "$SCRATCH/copy2" || fail "encrypt=$encrypt: the copies on the two servers are not equal"
    say "encrypt=$encrypt: $(counter pages_changed) pages changed"
    anemone_unload || fail "unload"
done
