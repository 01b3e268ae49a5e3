#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# what: disks with unsuitable limits are refused or cause a warning, each with its reason; unusual ones that fit are used
# machine: disk
# bound: 120
# debug: yes
# shellcheck source-path=SCRIPTDIR source=common.sh source=disk.sh disable=SC2015
. "$(dirname "$0")/common.sh"
. "$(dirname "$0")/disk.sh"

needs_single
requires anemonectl losetup
anemone_load size_mib=64 || fail "load"
random_file "$SCRATCH/random" 1048576

# refused_disk TEXT PATH: attaching it is refused, and the log says why.
refused_disk() {
    dmesg -c >/dev/null
    anemonectl attach "$2" 2>"$SCRATCH/refused" && fail "$2 was attached"
    dmesg | grep -q "$1" || fail "$2: no message '$1': $(dmesg; cat "$SCRATCH/refused")"
    disk_is none || fail "$2: $(cat "$ANEMONE_DEBUG/disk")"
    say "ok: $(dmesg | grep 'anemone: ' | tail -n 1)"
}
# used TEXT PATH: it is attached, the log has TEXT, it takes pages, and returns them.
used() {
    dmesg -c >/dev/null
    anemonectl attach "$2" || fail "$2 was refused: $(dmesg | tail -n 3)"
    dmesg | grep -q "$1" || fail "$2: no message '$1': $(dmesg)"
    put_all "$SCRATCH/random" || fail "writing"
    disk_up_to_date 60 || fail "$2 does not take pages"
    expect_more "pages written" 0 "$(disk_value pages_written)"
    [ "$(disk_value errors)" = "${used_errors:-0}" ] || fail "$2: $(cat "$ANEMONE_DEBUG/disk")"
    dd if="$2" bs=128k count=8 iflag=direct 2>/dev/null | cmp - "$SCRATCH/random" || fail "$2 has not what was written"
    wait_for 30 "the disk detached" anemonectl detach || fail "detach"
}

# Blocks larger than a page.
truncate -s 80M "$SCRATCH/large" && large=$(losetup --show --sector-size 8192 -f "$SCRATCH/large") || fail "no loop device"
[ "$(blockdev --getss "$large")" = 8192 ] || fail "blocks of $(blockdev --getss "$large")"
refused_disk "$large has logical blocks of 8192 bytes, larger than a page" "$large"
losetup -d "$large"
# Blocks of a page.
truncate -s 80M "$SCRATCH/page" && page=$(losetup --show --sector-size 4096 -f "$SCRATCH/page") || fail "no loop device"
used "local disk $page: attached" "$page"
losetup -d "$page"

# A partition that begins at the second sector, so that no page of it is aligned with one of the disk, and another that
# is aligned. The table is written by hand: first sector and number of sectors, little-endian.
truncate -s 140M "$SCRATCH/parts" && { head -c 446 /dev/zero
    printf '\000\000\002\000\203\000\000\000\001\000\000\000\000\040\002\000'
    printf '\000\000\002\000\203\000\000\000\010\040\002\000\000\040\002\000'
    head -c 32 /dev/zero
    printf '\125\252'; } | dd of="$SCRATCH/parts" conv=notrunc 2>/dev/null && parts=$(losetup --show -P -f "$SCRATCH/parts") || fail "no loop device"
for part in 1 2; do
    has_part() { [ -b "${parts}p$part" ]; }
    wait_for 10 "partition $part" has_part || fail "there is no ${parts}p$part: $(dmesg | tail -n 3)"
    used "local disk ${parts}p$part: attached" "${parts}p$part"
done
losetup -d "$parts"

# Zones.
modprobe null_blk nr_devices=0 && [ -d /sys/kernel/config/nullb ] || mount -t configfs none /sys/kernel/config || fail "no null_blk"
zoned=nullzoned null=/sys/kernel/config/nullb/nullzoned
mkdir $null && echo 1024 >$null/size && echo 1 >$null/memory_backed || fail "null_blk"
echo 1 >$null/zoned && echo 4 >$null/zone_size && echo 1 >$null/power || fail "no disk with zones"
[ "$(cat /sys/block/$zoned/queue/zoned)" = host-managed ] || fail "$(cat /sys/block/$zoned/queue/zoned)"
refused_disk "/dev/$zoned has zones" /dev/$zoned
echo 0 >$null/power
rmdir $null

# Requests smaller than the module's: the kernel splits them.
null=/sys/kernel/config/nullb/nullsmall
mkdir $null && echo 96 >$null/size && echo 1 >$null/memory_backed && echo 24 >$null/max_sectors && echo 1 >$null/power || fail "null_blk"
small=/dev/nullsmall
[ "$(cat /sys/block/nullsmall/queue/max_sectors_kb)" = 12 ] || fail "$(cat /sys/block/nullsmall/queue/max_sectors_kb) KiB a request"
used "local disk $small: attached" "$small"
echo 0 >$null/power && rmdir $null

# A disk made of memory; and one with pages across its blocks.
modprobe brd rd_nr=1 rd_size=81920 || fail "no brd"
used "local disk /dev/ram0: if it is backed by this machine's memory" /dev/ram0
physical=$(blockdev --getpbsz /dev/ram0)
dmsetup create "$DM" --noudevsync --noudevrules --table "0 140000 linear /dev/ram0 1" && dm_node || fail "dmsetup"
[ "$(blockdev --getalignoff "$DM_DISK")" != 0 ] || fail "it is aligned"
used "local disk $DM_DISK: pages are not aligned to its blocks of $physical bytes" "$DM_DISK"
dmsetup remove "$DM" && rmmod brd || fail "it is still held"
