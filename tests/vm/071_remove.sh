#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# what: servers are added and removed under a verified load; a server is removed only when no page needs it
# machine: segment
# bound: 240
# debug: yes
# shellcheck source-path=SCRIPTDIR source=common.sh disable=SC2015
. "$(dirname "$0")/common.sh"

requires anemone-test anemonectl
needs_single

mib=$(scaled 8 4)
status() { anemonectl status --json | anemone-test json "$1"; }
write() { dd if="$SCRATCH/$1" of="$ANEMONE_DEVICE" bs=256k oflag=direct 2>/dev/null || fail "writing"; }
is_gone() { [ -z "$(health "$1")" ]; }
same() {
    dd if="$ANEMONE_DEVICE" bs=256k count=$((mib * 4)) iflag=direct 2>/dev/null | cmp - "$SCRATCH/$1" || fail "$2"
}
for version in older newer; do
    head -c $((mib << 20)) /dev/urandom >"$SCRATCH/$version"
done

# One copy of each page, on server 1 only: nothing may be lost.
anemone_load size_mib=64 replicas=1 servers="$(servers 1)" || fail "load"
write older
[ "$(status pages.written)" = $((mib * 256)) ] || fail "$(anemonectl status)"
anemonectl remove --force "$(servers 1)" 2>"$SCRATCH/refusal" && fail "pages were dropped"
grep -q "the only copy of $((mib * 256)) pages" "$SCRATCH/refusal" || fail "$(cat "$SCRATCH/refusal")"
case $(health 1) in up | suspected) ;; *) fail "a refused removal has changed it to $(health 1)" ;; esac
same older "after a refused removal"
# There is no other server yet: it is kept, still read from, and still written to.
anemonectl remove --wait 0 "$(servers 1)"
[ $? = 5 ] || fail "the last server is removed"
[ "$(health 1)" = draining ] || fail "it is $(health 1)"
same older "from a server that is draining"
write older
# Adding it again keeps it.
anemonectl add "$(servers 1)" || fail "adding it again"
wait_for 20 "it is used again" is_healthy 1 || fail "it is $(health 1)"

# Another server is added. New page-outs go there, and then the first one can be removed.
anemonectl add --wait 10 "$(servers 2)" || fail "add"
anemonectl remove "$(servers 1)" || fail "remove"
write newer
wait_for 60 "server 1 is gone" is_gone 1 || fail "$(anemonectl status)"
same newer "from server 2"
disturb kill 1 || fail "kill"
same newer "without server 1"
[ "$(status pages.lost)/$(status pages.degraded)" = 0/0 ] || fail "$(anemonectl status)"
host start 1 || fail "start"

# Forced, with the only copies: these are known to be lost at once, and no others.
anemonectl add --wait 10 "$(servers 3)" || fail "add"
write newer
first=$(status servers.0.mac)
anemonectl remove --force --lose-pages "$first" || fail "by force"
lost=$(status pages.lost)
found=$(anemone-test survey --pages $((mib * 256)) "$SCRATCH/newer") || fail "a page can be read that was not written"
[ "$lost" -gt 0 ] && [ "$found" = "equal $((mib * 256 - lost)) errors $lost other 0" ] ||
    fail "$lost pages are said to be lost, and of all $found"
write newer
same newer "written again"
[ "$(status pages.lost)" = 0 ] || fail "$(anemonectl status)"
anemone_unload || fail "unload"
