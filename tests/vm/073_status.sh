#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# what: anemonectl's status is right: servers, pages, modes, as text and as JSON
# machine: segment
# bound: 120
# debug: yes
# shellcheck source-path=SCRIPTDIR source=common.sh disable=SC2015
. "$(dirname "$0")/common.sh"

requires anemone-test anemonectl
needs_single

# is MEMBER VALUE: soon, because a server may just be so late that it seems silent.
is() { wait_for 20 "$1 is $2" is_now "$1" "$2" || fail "$(anemonectl status --json)"; }
is_now() { [ "$(anemonectl status --json | anemone-test json "$1")" = "$2" ]; }
becomes() { [ "$(anemonectl status --json --quick | anemone-test json "$1")" = "$2" ]; }

anemone_load size_mib=64 io_timeout_s=30 min_copies=2 servers="$(servers 1 2)" || fail "load"
is schema 1
is device.path /dev/anemone
is device.size_bytes $((64 << 20))
is device.mode network
is device.replicas 2
is device.min_copies 2
is device.io_timeout_s 30
is interface.name eth0
is interface.mtu 1500
is pages.size 16384
is pages.written 0
is disk.state none
is servers 2
is servers.0.mac "$(servers 1)"
is servers.1.mac "$(servers 2)"
is servers.0.health up
is servers.0.refusal null
head -c $((1 << 20)) /dev/urandom >"$SCRATCH/data"
dd if="$SCRATCH/data" of="$ANEMONE_DEVICE" bs=256k oflag=direct 2>/dev/null || fail "writing"
is pages.written 256
is pages.degraded 0
is pages.lost 0
is since_load.pages_out 256
is servers.0.held_pages 256
is servers.1.held_pages 256
[ "$(anemonectl status --json --quick | anemone-test json pages.written)" = null ] || fail "--quick counts"
anemonectl status >"$SCRATCH/text" || fail "status"
grep -q "64 MiB\|65536 KiB" "$SCRATCH/text" && grep -q "256 written" "$SCRATCH/text" && grep -q "$(servers 2)  up" "$SCRATCH/text" ||
    fail "$(cat "$SCRATCH/text")"

disturb pause 2 || fail "pause"
wait_for 20 "server 2 is suspected" becomes servers.1.health suspected || fail "$(anemonectl status)"
is device.mode degraded
disturb pause 1 || fail "pause"
wait_for 20 "no server answers" becomes device.mode none || fail "$(anemonectl status)"
host resume 1 && host resume 2 && wait_for 20 "both are back" becomes device.mode network || fail "$(anemonectl status)"
blkdiscard "$ANEMONE_DEVICE" || fail "discard"
is pages.written 0
ip link del eth0 || fail "the interface is held"
is interface.mtu null
make_interface || fail "it cannot be made again"
wait_for 20 "the interface is back" becomes interface.mtu 1500 || fail "$(anemonectl status)"
anemone_unload || fail "unload"
