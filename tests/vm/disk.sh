# shellcheck shell=sh disable=SC2015
# SPDX-License-Identifier: GPL-2.0
# What the tests of the local disk share, on top of common.sh. The disk is that of --disk, directly
# or below a device-mapper device that makes it slow, silent or broken.

requires dmsetup
[ "$ANEMONE_DISK" ] || skip "needs a disk: --disk"
DM=testdisk
DM_DISK=/dev/mapper/$DM
DISK_SECTORS=$(blockdev --getsz "$ANEMONE_DISK")

# disk_value NAME: a line of the module's file on the disk.
disk_value() { anemone_value "$1" "$ANEMONE_DEBUG/disk"; }
disk_is() { [ "$(disk_value state)" = "$1" ]; }
# No I/O to or from the disk is under way.
disk_quiet() { [ "$(disk_value buffered)" = 0 ]; }
disk_wait() { wait_for "${2:-30}" "the disk is $1" disk_is "$1" || { cat "$ANEMONE_DEBUG/disk" >&2; return 1; }; }
disk_drain() {
    wait_moving "${1:-60}" "all pages have gone to the disk" disk_moved disk_quiet || { cat "$ANEMONE_DEBUG/disk" >&2; return 1; }
}

# The I/O that the disk has had and will have, to see whether there is progress.
disk_moved() { echo "$(disk_value pages_written) pages written, $(disk_value buffered) buffered, $(counter out_of_sync_left) parts out of sync"; }
# Every page that a server has is on the disk, or on its way there.
is_up_to_date() { [ "$(counter out_of_sync_left)" = 0 ]; }
# disk_up_to_date [SECONDS]: waits until every page is on the disk; fails when none was written for SECONDS.
disk_up_to_date() {
    wait_moving "${1:-60}" "no page lags on the disk" disk_moved is_up_to_date && disk_drain "${1:-60}" ||
        { cat "$ANEMONE_DEBUG/disk" "$ANEMONE_DEBUG/counters" >&2; return 1; }
    say "up to date: $(counter pages_mirrored) pages brought to the disk later"
}

# dm LINE: the device-mapper device becomes what LINE says, in place of `0 SECTORS`.
dm() {
    disk_table="0 $DISK_SECTORS $*"
    if dmsetup info "$DM" >/dev/null 2>&1; then
        # Without a flush: the new table gets the I/O that the old one held up.
        dmsetup suspend --noflush --nolockfs "$DM" && dmsetup load "$DM" --table "$disk_table" && dm_resume
    else
        dmsetup create "$DM" --noudevsync --noudevrules --table "$disk_table" && dm_node
    fi
}
# There is no udev to create it.
dm_node() { ln -sf "/dev/$(dmsetup info -c --noheadings -o blkdevname "$DM")" "$DM_DISK" && [ -b "$DM_DISK" ]; }
dm_resume() { dmsetup resume --noudevsync --noudevrules "$DM"; }
dm_suspend() { dmsetup suspend --noflush --nolockfs "$DM"; }
dm_linear() { dm "linear $ANEMONE_DISK 0"; }
# dm_delay READ_MS WRITE_MS
dm_delay() { dm "delay $ANEMONE_DISK 0 $1 $ANEMONE_DISK 0 $2"; }
dm_error() { dm "error"; }

# Pages as they are on the disk: page N of the device at page N.
# on_disk FILE FIRST COUNT: the disk has the first COUNT pages of FILE from page FIRST on.
on_disk() {
    dd if="$ANEMONE_DISK" bs=4k skip="$2" count="$3" iflag=direct 2>/dev/null |
        cmp -n $(($3 * 4096)) - "$1"
}
# put FILE FIRST COUNT, get FIRST COUNT: pages of the device, past the cache.
put() { dd if="$1" of="$ANEMONE_DEVICE" bs=4k seek="$2" count="$3" oflag=direct conv=notrunc 2>"$SCRATCH/dd"; }
get() { dd if="$ANEMONE_DEVICE" bs=4k skip="$1" count="$2" iflag=direct 2>"$SCRATCH/dd"; }
# put_all FILE [MIB], same_as FILE [MIB]: the whole file from there on, faster.
put_all() { dd if="$1" of="$ANEMONE_DEVICE" bs=128k seek="$((${2:-0} * 8))" oflag=direct conv=notrunc 2>"$SCRATCH/dd"; }
same_as() {
    dd if="$ANEMONE_DEVICE" bs=128k skip="$((${2:-0} * 8))" count="$(($(wc -c <"$1") / 131072))" iflag=direct 2>"$SCRATCH/dd" |
        cmp - "$1"
}
random_file() { head -c "$2" /dev/urandom >"$1"; }
