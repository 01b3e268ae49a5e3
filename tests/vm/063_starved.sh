#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# what: a machine swaps out several times its memory, with almost no reserve and atomic allocations beside it
# machine: starved
# bound: 900
# debug: no, that kernel needs more memory than the test leaves
# shellcheck source-path=SCRIPTDIR source=common.sh source=starved.sh disable=SC2015
. "$(dirname "$0")/common.sh"
. "$(dirname "$0")/starved.sh"

swaps_on_disk
swaps "servers"
swaps "servers and a disk" local_device="$ANEMONE_DISK"
