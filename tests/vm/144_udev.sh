#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# what: udev links the device by label and by UUID when it is formatted, and removes the links with it
# machine: segment
# vm: --servers 2 --file contrib/udev/61-anemone.rules
# bound: 90
# debug: yes
# shellcheck source-path=SCRIPTDIR source=common.sh disable=SC2015
. "$(dirname "$0")/common.sh"

requires systemd-udevd udevadm
RULES=/etc/udev/rules.d
mkdir -p $RULES /run/udev && cp "$(dirname "$0")/61-anemone.rules" $RULES || fail "the rules"
# Only if udevadm is new enough to know it.
if udevadm verify --help >/dev/null 2>&1; then
    udevadm verify $RULES/61-anemone.rules || fail "udevadm verify"
fi
systemd-udevd --children-max=2 >"$SCRATCH/udevd" 2>&1 &
wait_for 20 "udevd" udevadm control --ping || fail "$(cat "$SCRATCH/udevd")"
# is_link KIND NAME: the link points to the device.
is_link() { [ "$(readlink -f "/dev/disk/$1/$2")" = "$ANEMONE_DEVICE" ]; }
no_link() { [ ! -e "/dev/disk/$1/$2" ]; }

anemone_load size_mib=64 || fail "load"
first=6a1f5e7c-0b8e-4a55-9a5d-3c1f1d3f0001 second=6a1f5e7c-0b8e-4a55-9a5d-3c1f1d3f0002
mkswap -L far -U $first "$ANEMONE_DEVICE" >/dev/null || fail "mkswap"
wait_for 30 "links to a swap space" is_link by-label far || fail "$(cat "$SCRATCH/udevd"; udevadm info "$ANEMONE_DEVICE")"
is_link by-uuid $first || fail "no link by UUID: $(ls -l /dev/disk/*)"
swapon /dev/disk/by-uuid/$first || fail "swapon"
grep -q "^$ANEMONE_DEVICE " /proc/swaps || fail "$(cat /proc/swaps)"
swapoff "$ANEMONE_DEVICE" || fail "swapoff"
# Formatted again, it has the new links only.
mkswap -L near -U $second "$ANEMONE_DEVICE" >/dev/null || fail "mkswap"
wait_for 30 "links to the other" is_link by-label near || fail "$(ls -l /dev/disk/*)"
no_link by-label far && no_link by-uuid $first || fail "the old links are there: $(ls -l /dev/disk/*)"
udevadm settle --timeout=20 || fail "udev is busy"
anemone_unload || fail "unload"
wait_for 30 "no links" no_link by-label near || fail "$(ls -l /dev/disk/*)"
no_link by-uuid $second || fail "$(ls -l /dev/disk/*)"
udevadm control --exit || fail "udevd does not end"
