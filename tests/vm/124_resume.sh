#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# what: a machine hibernates to a disk and resumes: its swapped pages are there, and page-outs continue; hibernation to the device itself is refused
# machine: rewound
# bound: 240
# debug: no, its memory leaves no room for the image
# kinds: cfi
# shellcheck source-path=SCRIPTDIR source=common.sh source=rewound.sh disable=SC2015
. "$(dirname "$0")/common.sh"
. "$(dirname "$0")/rewound.sh"

requires dmsetup
[ -e /sys/power/resume ] || skip "the kernel has no hibernation"
# Writes the image to this disk, and resumes from it at once.
hibernate() {
    cat "/sys/class/block/${1#/dev/}/dev" >/sys/power/resume || fail "/sys/power/resume: ${1#/dev/}"
    echo test_resume >/sys/power/disk || fail "/sys/power/disk"
    hibernated=0
    echo disk >/sys/power/state || hibernated=1
    # The ports to the host are lost (scripts/guest/client.sh).
    rm -f /run/reconnected
    for device in /sys/bus/virtio/drivers/virtio_console/virtio*; do
        echo "${device##*/}" >/sys/bus/virtio/drivers/virtio_console/unbind
    done
    wait_for 20 "the ports to the host" test -e /run/reconnected || fail "the ports to the host"
    return $hibernated
}
resumed() { dmesg | sed -n 's/.*anemone: rollback handled: page versions now start at \([0-9]*\)$/\1/p' | tail -n 1; }

for name in kept again; do head -c $((PART * 4096)) /dev/urandom >"$SCRATCH/$name"; done
anemone_load size_mib=64 min_copies=2 || fail "load"
write_part 0 "$SCRATCH/kept" || fail "writing: $(cat "$SCRATCH/dd")"
mkswap "$ANEMONE_DISK" >/dev/null && swapon "$ANEMONE_DISK" || fail "swap on the disk"
# An image on a disk that is made of the device could not be read back. The kernel does not report whether one is planned.
dmsetup create testdisk --noudevsync --noudevrules --table "0 2048 linear $ANEMONE_DEVICE 65536" || fail "a disk made of the device"
last=0
for round in 1 2; do
    hibernate "$ANEMONE_DISK" || fail "round $round: it does not hibernate: $(dmesg | tail -n 30)"
    # The log entries from while the image was written are lost.
    [ "$(dmesg | grep -c 'anemone: the machine hibernates, and another disk is made of /dev/anemone')" = 1 ] ||
        fail "round $round: what lies on the device: said not at all, or without one: $(dmesg | tail -n 30)"
    [ $round = 2 ] || dmsetup remove --noudevsync testdisk || fail "the disk made of the device is held"
    dmesg | grep -q 'pages for snapshot' || fail "round $round: there was no image"
    dmesg | grep 'PM: Image saving' && fail "round $round: the image was not read back"
    has_jumped() { [ "$(resumed)" ] && [ "$(resumed)" -gt $((last + (1 << 40))) ]; }
    wait_for 20 "round $round: that they jump" has_jumped || fail "round $round: from $last to $(resumed)"
    last=$(resumed)
    read_part 0 | cmp - "$SCRATCH/kept" || fail "round $round: what was written before"
    write_part $round "$SCRATCH/again" && read_part $round | cmp - "$SCRATCH/again" || fail "round $round: what was written after"
    for server in 1 2; do
        wait_for 30 "server $server is up" is_healthy $server || fail "round $round: it is not"
    done
done
nothing_failed || fail "some pages failed"
[ "$(counter versions_renewed)" = 0 ] || fail "page-outs had versions that servers did not take"

# To the device itself: it is abandoned, and the machine continues.
swapoff "$ANEMONE_DISK" && anemone_swapon || fail "swap on the device"
hibernate "$ANEMONE_DEVICE" 2>"$SCRATCH/error" && fail "the image was put on the device itself"
dmesg | grep -q 'anemone: /dev/anemone: not opened for writing while the machine hibernates' || fail "refused otherwise: $(cat "$SCRATCH/error"; dmesg | tail -n 20)"
swapoff "$ANEMONE_DEVICE" || fail "swapoff"
write_part 5 "$SCRATCH/again" && read_part 5 | cmp - "$SCRATCH/again" || fail "after that"
nothing_failed || fail "some pages failed"
