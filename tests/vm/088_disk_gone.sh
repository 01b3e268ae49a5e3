#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# what: the disk is unplugged under load and plugged in again: it is not used, detached, attached again
# machine: disk
# bound: 120
# debug: yes
# shellcheck source-path=SCRIPTDIR source=common.sh source=disk.sh disable=SC2015
. "$(dirname "$0")/common.sh"
. "$(dirname "$0")/disk.sh"

needs_single
requires anemonectl anemone-test
virtio=$(basename "$(readlink -f "/sys/block/${ANEMONE_DISK##*/}/device")")
driver=/sys/bus/virtio/drivers/virtio_blk
[ -e "$driver/$virtio" ] || fail "$ANEMONE_DISK is not a virtio disk"
anemone_load size_mib=64 local_device="$ANEMONE_DISK" || fail "load"
load_begin --threads 2 --blocks 1024
load_progress "$(scaled 300)" || fail "the load does not begin"
dmesg -c >/dev/null
echo "$virtio" >$driver/unbind || fail "unbind"
load_progress "$(scaled 300)" || fail "the load does not continue without the disk"
disk_wait faulty 20 || fail "it is not left out"
said() { [ "$(dmesg | grep -c 'anemone: local disk: .*, no longer used')" = 1 ]; }
wait_for 20 "one message about the disk" said || fail "not one message: $(dmesg | tail)"
dmesg | grep -q 'anemone: local disk: removed from the machine' || fail "not logged as removed: $(dmesg | tail)"
load_progress "$(scaled 300)" || fail "the load does not continue without the disk"
anemonectl attach "$ANEMONE_DISK" 2>/dev/null && fail "a disk that is gone was taken back"
# Pages that servers have are not lost.
wait_for 30 "the disk detached" anemonectl detach || fail "detach"
echo "$virtio" >$driver/bind || fail "bind"
wait_for 20 "the disk" test -b "$ANEMONE_DISK" || fail "it does not come back"
anemonectl attach "$ANEMONE_DISK" || fail "attach"
written=$(disk_value pages_written)
load_progress "$(scaled 300)" || fail "the load does not continue with the new disk"
expect_more pages_written "$written" "$(disk_value pages_written)"
load_end || fail "the load"
nothing_failed || fail "some pages failed"
