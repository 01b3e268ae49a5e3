#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# what: the module is unloaded in every state of its servers, network, repair and disk, and leaves nothing
# machine: disk
# bound: 240
# debug: yes
# shellcheck source-path=SCRIPTDIR source=common.sh source=disk.sh disable=SC2015
. "$(dirname "$0")/common.sh"
. "$(dirname "$0")/disk.sh"

needs_single
requires anemonectl
random_file "$SCRATCH/random" "$(scaled 4194304 4)"
modprobe dm-delay || fail "no dm-delay"
dm_linear || fail "dmsetup"

# unloads STATE [again]: unloading may be refused at first. It does not take a request's I/O timeout, which is a
# minute, and nothing is left.
unloads() {
    from=$(anemone_seconds)
    # The module is in use while the disk has I/O and completes none.
    anemone_unload || { [ "${2:-}" ] && wait_for 30 "rmmod" anemone_unload; } || fail "$1: it is not unloaded"
    took=$(($(anemone_seconds) - from))
    [ "$took" -le 40 ] || fail "$1: unloading took $took s"
    nothing_left || fail "$1: something is left"
    kernel_log_clean || fail "$1: the kernel's log"
    say "ok: $1, $took s"
}
# loaded [PARAMETER=VALUE...]: the module is loaded, and has pages.
loaded() { anemone_load size_mib=64 "$@" && put_all "$SCRATCH/random" || fail "load $*"; }
every() { for number in 1 2 3; do disturb "$1" "$number" ${2:+"$2"} || fail "$1 $number"; done; }
all_back() {
    for number in 1 2 3; do host "$1" "$number" ${2:+"$2"} || fail "$1 $number"; done
}

anemone_load size_mib=64 || fail "load"
unloads "at once"
loaded
unloads "with pages"
loaded
every pause
unloads "no server has been missed yet"
all_back resume
loaded loss_timeout_s=2
every pause
is_lost() { [ "$(health 1)/$(health 2)/$(health 3)" = lost/lost/lost ]; }
wait_for 30 "all are dead" is_lost || fail "$(cat "$ANEMONE_DEBUG/servers")"
unloads "every server is dead"
all_back resume
loaded
every link down
unloads "every link is cut"
all_back link up
loaded
ip link set eth0 down || fail "eth0 down"
unloads "the interface is down"
ip link set eth0 up || fail "eth0 up"
loaded
ip link del eth0 || fail "eth0 gone"
unloads "the interface is gone"
make_interface || fail "a new interface"
loaded loss_timeout_s=2 repair_pages_per_s=5
disturb kill 1 || fail "kill"
begun() { [ "$(counter pages_repaired)" -gt 0 ]; }
wait_for 30 "repair" begun || fail "nothing is repaired"
[ "$(counter repair_left)" != 0 ] || fail "repair has ended too soon"
unloads "pages are being repaired"
host start 1 || fail "start"
loaded repair_pages_per_s=50
anemonectl remove "$(servers 1)" || fail "remove"
unloads "a server is being removed"
loaded local_device="$DM_DISK"
unloads "pages may be on their way to the disk" again
loaded local_device="$DM_DISK"
dm_delay 0 500 || fail "dmsetup"
put_all "$SCRATCH/random" || fail "writing to a slow disk"
unloads "many pages are on their way to a slow disk" again
dm_linear || fail "dmsetup"
loaded local_device="$DM_DISK"
dm_error || fail "dmsetup"
put_all "$SCRATCH/random" || fail "writing to a broken disk"
disk_wait faulty || fail "it is not faulty"
unloads "the disk is faulty"
dm_linear || fail "dmsetup"
loaded local_device="$DM_DISK"
every kill
put_all "$SCRATCH/random" || fail "writing without servers"
unloads "there is only the disk"
anemone_load size_mib=64 local_device="$DM_DISK" || fail "load with a disk alone"
put_all "$SCRATCH/random" || fail "writing to the disk alone"
unloads "there never was a server"
all_back start
