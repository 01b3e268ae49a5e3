#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# what: all that anemonectl does, at once and repeatedly, under a verified load
# machine: segment
# bound: 240
# debug: yes
# shellcheck source-path=SCRIPTDIR source=common.sh disable=SC2015
. "$(dirname "$0")/common.sh"

requires anemone-test anemonectl fio
needs_single

# again WHAT COMMAND...: repeats until the load has ended, and counts results in $SCRATCH/WHAT.
again() {
    trap - EXIT
    again_what=$1
    shift
    while [ -e "$SCRATCH/again" ]; do
        "$@" >/dev/null 2>"$SCRATCH/$again_what.err" && echo ok >>"$SCRATCH/$again_what"
    done
}
# In turn, so that both happen. Other commands run at the same time.
add_and_remove() {
    anemonectl add --wait 0 "$1"
    # shellcheck disable=SC2086 # nothing, or an option
    anemonectl remove --wait 0 $2 "$1"
    :
}
bad_disk() { ! anemonectl attach /dev/null; }

: >"$SCRATCH/again"
anemone_load size_mib=64 || fail "load"
load_begin --threads 2 --blocks 512
fio --name=load --filename="$ANEMONE_DEVICE" --direct=1 --ioengine=libaio --iodepth=8 --rw=randwrite --bs=4k --offset=16m \
    --size="$(scaled 4 2)m" --loops=2 --verify=crc32c --verify_fatal=1 --output="$SCRATCH/fio" >/dev/null 2>&1 &
fio=$!
load_progress "$(scaled 200)" || fail "the load does not begin"
again status anemonectl status --json &
pids=$!
again quick anemonectl status --quick &
pids="$pids $!"
again third add_and_remove "$(servers 3)" &
pids="$pids $!"
again force add_and_remove "$(servers 3)" --force &
pids="$pids $!"
again disk bad_disk &
pids="$pids $!"
again errors anemone-test control --server "$(servers 1)" --own "$(cat /sys/class/net/eth0/address)" --unprivileged &
pids="$pids $!"
load_progress "$(scaled 1000)" 120 || fail "the load does not continue"
wait $fio || { cat "$SCRATCH/fio" >&2; fail "fio"; }
rm "$SCRATCH/again"
# shellcheck disable=SC2086 # words on purpose
wait $pids
for what in status quick third force disk errors; do
    [ -s "$SCRATCH/$what" ] || fail "$what never succeeded: $(cat "$SCRATCH/$what.err")"
    say "$what: $(wc -l <"$SCRATCH/$what") times"
done
load_progress "$(scaled 200)" || fail "the load does not continue afterwards"
load_end || fail "the load"
nothing_failed || fail "some pages failed"
[ "$(anemonectl status --json | anemone-test json pages.lost)" = 0 ] || fail "$(anemonectl status)"
wait_for 20 "rmmod" anemone_unload || fail "unload"
nothing_left || fail "something is left"
