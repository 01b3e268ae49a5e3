#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# what: a disk that takes half a second for each request delays neither pages that servers hold nor unloading; out-of-sync pages follow later
# machine: disk
# bound: 240
# debug: yes
# shellcheck source-path=SCRIPTDIR source=common.sh source=disk.sh disable=SC2015
. "$(dirname "$0")/common.sh"
. "$(dirname "$0")/disk.sh"

needs_single
requires anemone-test anemonectl
modprobe dm-delay || fail "no dm-delay"
# So slow that the pool fills up, however slowly it is filled.
dm_delay 500 20000 || fail "dmsetup"
anemone_load size_mib=64 local_device="$DM_DISK" mirror_pool_mib=1 mirror=lag disk_timeout_s=60 || fail "load"
pages=$(scaled 4096 4)
random_file "$SCRATCH/random" $((pages * 4096))
put_all "$SCRATCH/random" 32 || fail "writing"
[ "$(disk_value pool_full)" -gt 0 ] || fail "nothing lags: $(cat "$ANEMONE_DEBUG/disk")"
[ "$(counter out_of_sync_left)" -gt 0 ] || fail "nothing that lags is known: $(cat "$ANEMONE_DEBUG/counters")"
# A report that counts no pages knows it too, but not how many.
lagging=$(anemonectl status --quick --json)
[ "$(counter out_of_sync_left)" = 0 ] || [ "$(echo "$lagging" | anemone-test json disk.state)" = out_of_sync ] ||
    fail "the disk lags: $lagging"
[ "$(echo "$lagging" | anemone-test json disk.out_of_sync)" = null ] || fail "pages were not counted: $lagging"
# When it is fast again, out-of-sync pages are written to it, from the servers.
dm_delay 0 0 || fail "dmsetup"
disk_up_to_date 60 || fail "pages lag"
expect_more "pages brought to the disk later" 0 "$(counter pages_mirrored)"
for way in "" --quick; do
    # shellcheck disable=SC2086
    report=$(anemonectl status --json $way)
    [ "$(echo "$report" | anemone-test json disk.state)" = attached ] || fail "$report"
done
[ "$(anemonectl status --json | anemone-test json disk.out_of_sync)" = 0 ] || fail "$(anemonectl status)"
on_disk "$SCRATCH/random" 8192 "$pages" || fail "the disk holds something else"
for server in 1 2 3; do disturb kill $server || fail "kill"; done
same_as "$SCRATCH/random" 32 || fail "without servers: $(cat "$SCRATCH/dd")"
for server in 1 2 3; do host start $server || fail "start"; done
for server in 1 2 3; do
    wait_for 60 "server $server is back" is_healthy $server || fail "$(cat "$ANEMONE_DEBUG/servers")"
done

# Strict: otherwise pages that are only on servers would rightly be lost when all of them die at once.
echo strict >/sys/module/anemone/parameters/mirror || fail "strict"
policy_is() { [ "$(disk_value policy)" = "$1" ]; }
wait_for 10 "the policy to change" policy_is strict || fail "policy"
dm_delay 500 500 || fail "dmsetup"
written=$(disk_value pages_written)
load_begin --threads 2 --blocks 1024
load_progress "$(scaled 2000)" || fail "the load does not continue"
disk_is attached || fail "$(cat "$ANEMONE_DEBUG/disk")"
expect_more pages_written "$written" "$(disk_value pages_written)"
# A server dies: nothing changes.
disturb kill 1 || fail "kill"
load_progress "$(scaled 2000)" || fail "the load does not continue without server 1"
# If the machine has stalled, pages may be out of sync all the same.
wait_moving 90 "nothing lags" disk_moved is_up_to_date || fail "$(cat "$ANEMONE_DEBUG/counters" "$ANEMONE_DEBUG/disk")"
# Without any server page-outs have the disk's speed, and none fails.
disturb kill 2 && disturb kill 3 || fail "kill"
load_progress 20 90 || fail "the load does not continue with the slow disk alone"
dm_delay 0 0 || fail "dmsetup"
load_progress "$(scaled 200)" 90 || fail "the load does not continue with the disk alone"
load_end || fail "the load"
nothing_failed || fail "some pages failed"

# Unloading waits a second for the disk's I/O, and not for disk_timeout_s.
dm_delay 0 1000 || fail "dmsetup"
random_file "$SCRATCH/random" 131072
put "$SCRATCH/random" 0 32 || fail "writing"
from=$(anemone_seconds)
# The module is in use while the disk has I/O and completes none.
anemone_unload 2>/dev/null || wait_for 5 "rmmod" anemone_unload || fail "unload with a slow disk"
took=$(($(anemone_seconds) - from))
[ "$took" -le 40 ] || fail "unloading took $took s"
