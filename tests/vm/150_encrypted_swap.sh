#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# what: swap on dm-crypt over the device, in a machine of 96 MiB, with dm_mod.swap_bios=64: no program is killed, nothing is sent in clear
# machine: machines
# vm: --server-mem 448 --client-mem 96
# bound: 240
# debug: no, it needs a machine of 96 MiB, and that kernel takes more
# shellcheck source-path=SCRIPTDIR source=common.sh disable=SC2015
#
# With the kernel's own limit of 2048 requests the program may be killed: a request of swap has up to 32 pages,
# and dm-crypt allocates a second page for each. docs/administration.md has the details and measurements.
. "$(dirname "$0")/common.sh"

needs_machines
requires anemone-test dmsetup
modprobe dm-crypt || fail "no dm-crypt"
LIMIT=/sys/module/dm_mod/parameters/swap_bios
KEY=000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f
# Before the device-mapper device is removed, and that before the module.
no_crypt() { swapoff "$CRYPT" 2>/dev/null; dmsetup remove testcrypt; }
anemone_load size_mib=288 || fail "load"
echo 64 >$LIMIT || fail "the limit cannot be set"
dmsetup create testcrypt --noudevsync --noudevrules \
    --table "0 $(blockdev --getsz "$ANEMONE_DEVICE") crypt aes-cbc-plain64 $KEY 0 $ANEMONE_DEVICE 0" || fail "dmsetup"
CRYPT=/dev/$(dmsetup info -c --noheadings -o blkdevname testcrypt)
mkswap "$CRYPT" >/dev/null && swapon "$CRYPT" || fail "swapon"
killed=$(vmstat_value oom_kill) out=$(vmstat_value pswpout)
anemone-test pages --mib 128 --passes 1 --threads 2 >"$SCRATCH/pages" 2>&1
status=$?
say "$(cat "$SCRATCH/pages"); $(($(vmstat_value pswpout) - out)) pages out"
[ "$(vmstat_value oom_kill)" = "$killed" ] || { no_crypt; fail "a program was killed: $(dmesg | grep 'Out of memory')"; }
[ $status = 0 ] || { no_crypt; fail "the program: $(cat "$SCRATCH/pages")"; }
has() { dd if="$1" bs=4k count=1 iflag=direct 2>/dev/null | grep -qa SWAPSPACE2; }
has "$CRYPT" || { no_crypt; fail "there is no swap space"; }
has "$ANEMONE_DEVICE" && { no_crypt; fail "it is not encrypted"; }
no_crypt || fail "the device-mapper device is held"
nothing_failed || fail "some pages failed"
expect_more "pages swapped out" $((out + 20000)) "$(vmstat_value pswpout)"
