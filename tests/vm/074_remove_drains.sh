#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# what: a server that is being removed goes when its pages have been copied elsewhere, dead ones too
# machine: segment
# vm: --file tests/vm/repair.sh
# bound: 180
# debug: yes
# shellcheck source-path=SCRIPTDIR source=common.sh source=repair.sh disable=SC2015
. "$(dirname "$0")/common.sh"
. "$(dirname "$0")/repair.sh"

requires anemone-test anemonectl
needs_single

mib=$(scaled 8 4)
status() { anemonectl status --json | anemone-test json "$1"; }
same() {
    dd if="$ANEMONE_DEVICE" bs=256k skip=128 count=$((mib * 4)) iflag=direct 2>/dev/null | cmp - "$SCRATCH/data" || fail "$1"
}
is_missed() { [ "$(health 2)" != up ]; }
is_gone() { [ -z "$(health "$1")" ]; }

head -c $((mib << 20)) /dev/urandom >"$SCRATCH/data"
anemone_load size_mib=64 || fail "load"
dd if="$SCRATCH/data" of="$ANEMONE_DEVICE" bs=256k seek=128 oflag=direct 2>/dev/null || fail "writing"
[ "$(status servers.0.held_pages)" -gt 0 ] || fail "server 1 has no pages: $(anemonectl status)"
# The data is in the device's second half. The load writes before it.
load_begin --threads 1 --blocks 256
anemonectl remove --wait 1200 "$(servers 1)" || fail "it does not go: $(anemonectl status)"
is_gone 1 || fail "it is $(health 1)"
load_end || fail "the load"
repaired 60 || fail "no repair"
[ "$(status pages.degraded)/$(status pages.lost)" = 0/0 ] || fail "$(anemonectl status)"
disturb kill 1 || fail "kill"
same "without server 1"
# Each of the others has every page.
disturb kill 2 || fail "kill"
same "without servers 1 and 2"
wait_for 20 "server 2 is missed" is_missed || fail "$(anemonectl status)"
# A dead server is removed in the same way. One copy of each page is all that is possible.
anemonectl remove --wait 30 "$(servers 2)" || fail "the dead one does not go: $(anemonectl status)"
same "when server 2 has been removed"
[ "$(status pages.lost)" = 0 ] || fail "$(anemonectl status)"
[ "$(counter pages_in_failed)" = 0 ] || fail "some pages failed"
anemone_unload || fail "unload"
