#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# what: a disk that takes no more I/O delays neither unloading nor detaching, whether it can refuse I/O, cannot, or only claims that it can
# machine: disk
# bound: 180
# debug: yes
# kinds: cfi rt
# shellcheck source-path=SCRIPTDIR source=common.sh source=disk.sh disable=SC2015
. "$(dirname "$0")/common.sh"
. "$(dirname "$0")/disk.sh"

needs_single
requires losetup anemonectl anemone-test
modprobe dm-delay || fail "no dm-delay"
random_file "$SCRATCH/random" 2097152
dm_linear || fail "dmsetup"
# The disk is a loop device with four requests, over one that can be stopped.
loop=$(losetup --show --direct-io=on -f "$DM_DISK") || fail "no loop device"
queue=/sys/block/${loop#/dev/}/queue
echo none >"$queue/scheduler" && echo 4 >"$queue/nr_requests" || fail "nr_requests"
[ "$(cat "$queue/nr_requests")" = 4 ] || fail "$loop has $(cat "$queue/nr_requests") requests"
in_loop() { awk '{ print $1 + $2 }' "/sys/block/${loop#/dev/}/inflight"; }
is_full() { [ "$(in_loop)" -ge 4 ]; }
# filled PARAMETER=VALUE...: loads the module, stops the disk, and uses all its requests while more is to be written.
filled() {
    anemone_load size_mib=64 "$@" || fail "load $*"
    put_all "$SCRATCH/random" 16 || fail "writing"
    disk_drain || fail "mirror"
    dm_suspend || fail "suspend"
    # At distant places, so that they are not merged.
    page=1
    while [ $page -lt 128 ]; do
        put "$SCRATCH/random" $((8192 + page * 2)) 1 || fail "writing while the disk is stopped"
        page=$((page + 1))
    done
    wait_for 20 "the disk's queue is full" is_full || { cat "$ANEMONE_DEBUG/disk" >&2; fail "it is not: $(in_loop)"; }
    [ "$(disk_value buffered)" -gt 4 ] || fail "nothing waits: $(cat "$ANEMONE_DEBUG/disk")"
}
# says_busy COMMAND...: it is refused without waiting for the disk, whose time limit is 60 s here. The module takes half
# a second to see that the disk ends no I/O, and a command waits for a second. The rest is for a busy machine, on
# which the programs and the timer's interrupt are late.
says_busy() {
    from=$(anemone_seconds)
    "$@" 2>"$SCRATCH/busy" && fail "$*: done, while the disk has our pages"
    took=$(($(anemone_seconds) - from))
    grep -qi -e "in use" -e busy -e "temporarily unavailable" -e "under way" "$SCRATCH/busy" || fail "$*: $(cat "$SCRATCH/busy")"
    [ $took -le 8 ] || fail "$*: refused after $took s"
    say "refused after $took s: $*"
}
# The disk answers: all is there, and it can be detached.
continues() {
    dm_resume || fail "resume"
    disk_wait attached 30 || fail "it is not used again"
    disk_up_to_date 60 || fail "not brought up to date"
    for page in 1 64 127; do
        get $((8192 + page * 2)) 1 | cmp -n 4096 - "$SCRATCH/random" || fail "page $page of the device"
        dd if="$loop" bs=4k skip=$((8192 + page * 2)) count=1 iflag=direct 2>/dev/null |
            cmp -n 4096 - "$SCRATCH/random" || fail "page $page is not on the disk"
    done
    same_as "$SCRATCH/random" 16 || fail "reading"
}

# The disk refuses: no task waits for it.
filled local_device="$loop" disk_timeout_s=8
load_begin --threads 1 --blocks 256
load_progress "$(scaled 200)" || fail "the load does not continue while the disk's queue is full"
load_end || fail "the load"
dm_resume && disk_drain && wait_for 10 "unload" anemone_unload || fail "unload a disk that answers"

# It may still read the module's memory for the I/O that it has. While none of that ends, the module is in use.
filled local_device="$loop" disk_timeout_s=60
says_busy anemonectl detach
says_busy anemone_unload
continues
wait_for 30 "the disk detached" anemonectl detach || fail "detach"
disk_is none || fail "$(cat "$ANEMONE_DEBUG/disk")"
wait_for 10 "unload" anemone_unload || fail "unload"

# The disk cannot refuse: the worker waits. Commands that would wait for the worker are refused.
delay=slowloop
dmsetup create $delay --noudevsync --noudevrules --table "0 $DISK_SECTORS delay $loop 0 0 $loop 0 0" || fail "dmsetup"
slow=/dev/$(dmsetup info -c --noheadings -o blkdevname $delay)
filled local_device="$slow" disk_timeout_s=60
says_busy anemonectl detach
says_busy anemone_unload
says_busy anemonectl detach
disk_is attached || fail "it was not left as it was: $(cat "$ANEMONE_DEBUG/disk")"
load_begin --threads 1 --blocks 256
load_progress "$(scaled 200)" || fail "the load does not continue while the worker waits"
load_end || fail "the load"
continues
wait_for 30 "the disk detached" anemonectl detach || fail "detach"
wait_for 10 "unload" anemone_unload || fail "unload"
dmsetup remove $delay || fail "dmsetup remove"
losetup -d "$loop" || fail "the loop device is held"

# The disk claims that it can refuse, and sends from the submitting task through a socket that may be full.
modprobe nbd nbds_max=1 max_part=0 || fail "no nbd"
mkfifo "$SCRATCH/until"
anemone-test memalloc --mib 64 <"$SCRATCH/until" >"$SCRATCH/network" 2>&1 &
network=$!
exec 3>"$SCRATCH/until"
is_connected() { [ -e /sys/block/nbd0/pid ] && [ "$(cat /sys/block/nbd0/size)" -gt 0 ]; }
wait_for 30 "the network block device" is_connected || fail "$(cat "$SCRATCH/network")"
echo none >/sys/block/nbd0/queue/scheduler || fail "scheduler"
anemone_load size_mib=64 local_device=/dev/nbd0 disk_timeout_s=60 || fail "load"
put_all "$SCRATCH/random" 16 || fail "writing"
# The kernel shows in a worker's name what it does.
is_sending() { grep -qsF "+anemone_disk" /proc/[0-9]*/comm; }
wait_for 20 "a task submits I/O" is_sending || fail "$(cat "$ANEMONE_DEBUG/disk")"
says_busy anemonectl detach
says_busy anemone_unload
is_sending || fail "no task waits for the socket"
load_begin --threads 1 --blocks 256
load_progress "$(scaled 200)" || fail "the load does not continue while the worker waits"
load_end || fail "the load"
exec 3>&-
wait $network || fail "the network block device: $(cat "$SCRATCH/network")"
disk_wait faulty 30 || fail "it is not faulty"
same_as "$SCRATCH/random" 16 || fail "reading"
wait_for 10 "unload" anemone_unload || fail "unload"
rmmod nbd || fail "the network block device is held"
