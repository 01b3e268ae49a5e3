#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# what: unloading is refused while the device is swapped on, mounted or open, and does no harm
# machine: segment
# bound: 120
# debug: yes
# shellcheck source-path=SCRIPTDIR source=common.sh disable=SC2015
. "$(dirname "$0")/common.sh"

anemone_load size_mib=64 || fail "load"
busy() {
    anemone_unload 2>"$SCRATCH/busy" && fail "unloaded while $1"
    grep -qi -e "in use" -e busy -e "temporarily unavailable" "$SCRATCH/busy" || fail "$1: $(cat "$SCRATCH/busy")"
    [ -b "$ANEMONE_DEVICE" ] && [ -e "$ANEMONE_DEBUG/counters" ] || fail "$1: half of it is gone"
}
anemone_swapon || fail "swapon"
busy "swapped on"
swapoff "$ANEMONE_DEVICE" || fail "swapoff"

exec 7<"$ANEMONE_DEVICE"
busy "open"
exec 7<&-

mkfs.ext4 -q "$ANEMONE_DEVICE" && mkdir "$SCRATCH/mounted" && mount "$ANEMONE_DEVICE" "$SCRATCH/mounted" || fail "no file system"
busy "mounted"
echo "still here" >"$SCRATCH/mounted/file" && sync && echo 3 >/proc/sys/vm/drop_caches
[ "$(cat "$SCRATCH/mounted/file")" = "still here" ] || fail "the file is not what was written"
umount "$SCRATCH/mounted" || fail "umount"
wait_for 10 "unload" anemone_unload || fail "unload"
nothing_left || fail "something is left"
