#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# what: a program larger than its machine's memory runs on the memory of two other machines
# machine: machines
# bound: 240
# debug: no, its program must exceed the memory of the machine, of which that kernel takes an unknown part
# shellcheck source-path=SCRIPTDIR source=common.sh disable=SC2015
. "$(dirname "$0")/common.sh"

needs_machines
requires anemone-test
anemone_load size_mib=192 replicas=1 || fail "load"
anemone_swapon || fail "swapon"
out=$(vmstat_value pswpout)
anemone-test pages --mib 120 --passes 1 || fail "the program"
expect_more "pages swapped out" $((out + 8000)) "$(vmstat_value pswpout)"
nothing_failed || fail "some pages failed"
swapoff "$ANEMONE_DEVICE" || fail "swapoff"
