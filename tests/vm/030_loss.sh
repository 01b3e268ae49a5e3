#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# what: frames are lost in each direction, at MTU 1500 and 9000
# machine: segment
# bound: 480
# debug: yes
# shellcheck source-path=SCRIPTDIR source=common.sh disable=SC2015
. "$(dirname "$0")/common.sh"

needs_single
requires tc anemone-test fio
# lossy WHERE...: a load while some of the frames that these send are lost. Each must have dropped some.
lossy() {
    for number; do netem "$number" loss 4% || fail "netem"; done
    before=$(counter retransmissions)
    anemone-test direct --blocks 256 --threads 2 --operations "$(scaled 60 3)" --seed "$1" || fail "MTU $mtu, from $*"
    fio_verify --rw=randwrite --bs=8k --ioengine=libaio --iodepth=16 --size="$(scaled 2 2)m" || fail "fio, MTU $mtu, from $*"
    for number; do
        dropped=$(netem_dropped "$number")
        say "MTU $mtu: $dropped frames of $number dropped"
        [ "$dropped" -gt 0 ] || fail "MTU $mtu: no frame of $number was dropped"
        netem_off "$number"
    done
    expect_more "MTU $mtu: retransmissions" "$before" "$(counter retransmissions)"
}
for mtu in 1500 9000; do
    set_mtu $mtu && anemone_load size_mib=64 || fail "load at MTU $mtu"
    lossy 0
    lossy 1 2 3
    lossy 0 1 2 3
    nothing_failed || fail "some pages failed"
    anemone_unload || fail "unload"
done
