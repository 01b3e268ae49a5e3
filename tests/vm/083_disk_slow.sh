#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# what: a disk that takes half a second for everything holds up no page that servers hold, nor unloading
# vm: --single --servers 3 --server-mem 96 --client-mem 224 --client-cpus 2 --disk 96 --file tests/vm/common.sh --file tests/vm/disk.sh --file build/anemone-test
# bound: 180
# debug: yes
# draft: a stall of the whole machine retires the disk, and pages that then lag are on servers only: needs repair
# shellcheck source-path=SCRIPTDIR source=common.sh source=disk.sh disable=SC2015
. "$(dirname "$0")/common.sh"
. "$(dirname "$0")/disk.sh"

needs_single
requires anemone-test
modprobe dm-delay || fail "no dm-delay"
dm_delay 500 500 || fail "dmsetup"
# Strict: what is only on servers when all of them die at once is lost, and rightly.
anemone_load size_mib=64 local_device="$DM_DISK" mirror_pool_mib=2 mirror=strict || fail "load"
load_begin --threads 2 --blocks 1024
load_progress "$(scaled 2000)" || fail "the load does not go on"
disk_is usable || fail "$(cat "$ANEMONE_DEBUG/disk")"
expect_more pages_written 0 "$(disk_value pages_written)"
# A server dies: nothing changes.
disturb kill 1 || fail "kill"
load_progress "$(scaled 2000)" || fail "the load does not go on without server 1"
# Without any server it goes at the disk's speed; nothing fails.
disturb kill 2 && disturb kill 3 || fail "kill"
load_progress 20 90 || fail "the load does not go on with the slow disk alone"
dm_delay 0 0 || fail "dmsetup"
load_progress "$(scaled 200)" 90 || fail "the load does not go on with the disk alone"
load_end || fail "the load"
nothing_failed || fail "some pages failed"

# Unloading waits for what is with the disk, no longer.
dm_delay 0 1000 || fail "dmsetup"
random_file "$SCRATCH/random" 131072
put "$SCRATCH/random" 0 32 || fail "writing"
from=$(anemone_seconds)
anemone_unload || fail "unload with a slow disk"
took=$(($(anemone_seconds) - from))
[ "$took" -le 8 ] || fail "unloading took $took s"
