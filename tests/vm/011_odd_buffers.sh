#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# what: direct I/O with buffers at odd sectors, in pieces, of 1 to 40 blocks
# machine: segment
# bound: 120
# debug: yes
# shellcheck source-path=SCRIPTDIR source=common.sh disable=SC2015
. "$(dirname "$0")/common.sh"

requires anemone-test
anemone_load size_mib=64 || fail "load"
set_mtu 1500 || fail "MTU"
anemone-test direct --blocks 1024 --operations "$(scaled 400)" --seed 11 || fail "MTU 1500"
anemone_unload && set_mtu 9000 && anemone_load size_mib=64 || fail "MTU 9000"
anemone-test direct --blocks 512 --threads 2 --operations "$(scaled 200)" --seed 12 || fail "MTU 9000"
