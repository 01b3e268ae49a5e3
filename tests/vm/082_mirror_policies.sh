#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# what: mirror=lag skips pages when there is no room, strict never, off writes none; changed at run time
# machine: disk
# bound: 240
# debug: yes
# shellcheck source-path=SCRIPTDIR source=common.sh source=disk.sh disable=SC2015
. "$(dirname "$0")/common.sh"
. "$(dirname "$0")/disk.sh"

needs_single
requires anemone-test
set -- interface=eth0 servers="$ANEMONE_SERVERS" size_mib=64 local_device="$ANEMONE_DISK"
refused EINVAL "invalid for parameter .mirror" "$@" mirror=sometimes
refused EINVAL "mirror_pool_mib=0 is out of range" "$@" mirror_pool_mib=0
refused EINVAL "disk_timeout_s=0 is out of range" "$@" disk_timeout_s=0

dm_linear || fail "dmsetup"
# Out-of-sync pages stay so.
anemone_load size_mib=64 local_device="$DM_DISK" mirror_pool_mib=1 mirror=lag repair_pages_per_s=0 disk_timeout_s=600 || fail "load"
policy_is() { [ "$(disk_value policy)" = "$1" ]; }
policy=/sys/module/anemone/parameters/mirror
[ "$(cat $policy)" = lag ] || fail "mirror reads as $(cat $policy)"
echo never >$policy 2>/dev/null && fail "a policy that there is not was taken"
random_file "$SCRATCH/random" 4194304
# Four times the pool, while the disk takes nothing: no request waits for it.
dm_suspend || fail "suspend"
put_all "$SCRATCH/random" || fail "writing"
[ "$(disk_value pool_full)" -gt 0 ] || fail "the pool was never full: $(cat "$ANEMONE_DEBUG/disk")"
dm_resume || fail "resume"
same_as "$SCRATCH/random" || fail "lag: reading"
disk_drain || fail "mirror"

# Nothing is out of sync, whatever it costs: no more page-outs end than there is room for.
echo strict >$policy || fail "strict"
wait_for 10 "the policy to change" policy_is strict || fail "policy"
random_file "$SCRATCH/random" 4194304
dm_suspend || fail "suspend"
out=$(counter pages_out) full=$(disk_value pool_full)
put_all "$SCRATCH/random" &
writer=$!
is_full() { [ "$(disk_value pool_full)" -gt "$full" ]; }
wait_moving 60 "a full pool" moved is_full || fail "the pool is not full: $(cat "$ANEMONE_DEBUG"/disk "$ANEMONE_DEBUG"/counters "$ANEMONE_DEBUG"/servers)"
wait_for 60 "page-outs that wait" stuck || fail "strict: page-outs do not wait for a disk that takes nothing"
[ $(($(counter pages_out) - out)) -le 256 ] || fail "strict: $(($(counter pages_out) - out)) page-outs have ended, with room for 256"
kill -0 $writer || fail "strict: the writer has ended"
dm_resume || fail "resume"
wait $writer || fail "writing"
disk_drain || fail "mirror"
on_disk "$SCRATCH/random" 0 1024 || fail "strict: the disk lacks pages"

# No page that servers hold is written to it. But if a server is late, as on a busy machine it may be, the
# page is written to the disk without waiting for others. Then the disk holds the newest version and may
# serve it. So the test does not judge by whether a page can be read: it looks at the disk's blocks. A page
# that can be read must be the newest. Each other one is older on the disk, and is an error.
echo off >$policy || fail "off"
wait_for 10 "the policy to change" policy_is off || fail "policy"
disk_drain || fail "mirror"
written=$(disk_value pages_written) late=$(($(counter timeouts) + $(counter pages_out_degraded)))
random_file "$SCRATCH/random" 4194304
put_all "$SCRATCH/random" || fail "writing"
same_as "$SCRATCH/random" || fail "off: reading"
disk_drain || fail "mirror"
written=$(($(disk_value pages_written) - written)) late=$(($(counter timeouts) + $(counter pages_out_degraded) - late))
[ "$written" -le "$late" ] || fail "off: $written pages were written, and $late servers were late: $(cat "$ANEMONE_DEBUG/disk")"
echo 2 >/sys/module/anemone/parameters/io_timeout_s
for server in 1 2 3; do disturb kill $server || fail "kill"; done
# The number of 256 pages that the disk has in their newest version.
newest=$(anemone-test survey --device "$ANEMONE_DISK" --pages 256 --count-other "$SCRATCH/random") || fail "the disk"
newest=${newest#equal } newest=${newest%% *}
say "off: $written of 1024 pages were written, $late servers were late; of 256 pages the disk has $newest"
[ "$newest" -lt 256 ] || fail "no page is older on the disk: nothing is tested"
found=$(anemone-test survey --pages 256 --threads 32 "$SCRATCH/random") || fail "an older version was read from the disk: $found"
[ "$found" = "equal $newest errors $((256 - newest)) other 0" ] ||
    fail "of 256 pages the disk has $newest in their newest version, and reading them gave: $found"
# But pages that no server takes go to the disk.
put "$SCRATCH/random" 4096 64 || fail "off: writing without servers"
on_disk "$SCRATCH/random" 4096 64 || fail "off: not on the disk"
get 4096 64 | cmp -n 262144 - "$SCRATCH/random" || fail "off: reading without servers"
