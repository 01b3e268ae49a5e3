#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# what: mirror=lag leaves pages out when there is no room, strict never, off writes none; changed at run time
# vm: --single --servers 3 --server-mem 96 --client-mem 224 --client-cpus 2 --disk 96 --file tests/vm/common.sh --file tests/vm/disk.sh --file build/anemone-test
# bound: 240
# debug: yes
# shellcheck source-path=SCRIPTDIR source=common.sh source=disk.sh disable=SC2015
. "$(dirname "$0")/common.sh"
. "$(dirname "$0")/disk.sh"

needs_single
set -- interface=eth0 servers="$ANEMONE_SERVERS" size_mib=64 local_device="$ANEMONE_DISK"
refused EINVAL "invalid for parameter .mirror" "$@" mirror=sometimes
refused EINVAL "mirror_pool_mib=0 is out of range" "$@" mirror_pool_mib=0
refused EINVAL "disk_timeout_s=0 is out of range" "$@" disk_timeout_s=0

modprobe dm-delay || fail "no dm-delay"
dm_delay 0 1500 || fail "dmsetup"
# What lags, stays so.
anemone_load size_mib=64 local_device="$DM_DISK" mirror_pool_mib=1 mirror=lag repair_pages_per_s=0 || fail "load"
policy_is() { [ "$(disk_value policy)" = "$1" ]; }
policy=/sys/module/anemone/parameters/mirror
[ "$(cat $policy)" = lag ] || fail "mirror reads as $(cat $policy)"
echo never >$policy 2>/dev/null && fail "a policy that there is not was taken"
random_file "$SCRATCH/random" 4194304
# Four times the pool, at once: the disk is too slow, and nobody waits for it.
put_all "$SCRATCH/random" || fail "writing"
[ "$(disk_value pool_full)" -gt 0 ] || fail "the pool was never full: $(cat "$ANEMONE_DEBUG/disk")"
same_as "$SCRATCH/random" || fail "lag: reading"
disk_drain || fail "mirror"

# Nothing lags, whatever it costs.
echo strict >$policy || fail "strict"
wait_for 10 "the policy to change" policy_is strict || fail "policy"
random_file "$SCRATCH/random" 4194304
put_all "$SCRATCH/random" || fail "writing"
disk_drain || fail "mirror"
on_disk "$SCRATCH/random" 0 1024 || fail "strict: the disk lacks pages"

# None is written that servers hold.
echo off >$policy || fail "off"
wait_for 10 "the policy to change" policy_is off || fail "policy"
disk_drain || fail "mirror"
written=$(disk_value pages_written)
random_file "$SCRATCH/random" 4194304
put_all "$SCRATCH/random" || fail "writing"
same_as "$SCRATCH/random" || fail "off: reading"
# On a busy machine a server may be late, and then the disk is asked all the same.
[ "$(disk_value pages_written)" -le $((written + 100)) ] || fail "off: pages were written: $(cat "$ANEMONE_DEBUG/disk")"
# What is on the disk is older now, and never read: without servers it is an error.
echo 2 >/sys/module/anemone/parameters/patience_s
for server in 1 2 3; do disturb kill $server || fail "kill"; done
get 0 1 >"$SCRATCH/old" && fail "an older version was read from the disk"
# But what no server takes goes to the disk.
put "$SCRATCH/random" 4096 64 || fail "off: writing without servers"
on_disk "$SCRATCH/random" 4096 64 || fail "off: not on the disk"
get 4096 64 | cmp -n 262144 - "$SCRATCH/random" || fail "off: reading without servers"
