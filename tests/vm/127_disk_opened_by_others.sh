#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# what: while another program opens a disk that does not answer, nothing waits for it: loading goes on without the disk, attaching is refused, detaching and unloading release it later
# machine: disk
# bound: 180
# debug: yes
# kinds: cfi rt
# shellcheck source-path=SCRIPTDIR source=common.sh source=disk.sh disable=SC2015
. "$(dirname "$0")/common.sh"
. "$(dirname "$0")/disk.sh"

needs_single
requires losetup anemonectl anemone-test
random_file "$SCRATCH/random" 1048576
dm_linear || fail "dmsetup"

# fresh: a loop device over a disk that can be stopped. Its partitions were never looked for.
fresh() {
    loop=$(losetup --show --direct-io=on -f "$DM_DISK") || fail "no loop device"
    dmesg -c >/dev/null
}
is_scanned() { [ "$(awk '{ print $1 }' "/sys/block/${loop#/dev/}/inflight")" -gt 0 ]; }
# hold: the disk stops, and another program holds what opening and closing it needs, until let_go.
hold() {
    dm_suspend || fail "suspend"
    anemone-test scan "$loop" >"$SCRATCH/scan" 2>&1 &
    holder=$!
    wait_for 20 "partitions are looked for" is_scanned || fail "nothing is: $(cat "$SCRATCH/scan")"
}
let_go() {
    kill -0 $holder || fail "the disk was not held"
    dm_resume || fail "resume"
    wait $holder || fail "$(cat "$SCRATCH/scan")"
}
# soon COMMAND...: it ends soon. Its status is STATUS, its output in $SCRATCH/soon.
soon() {
    from=$(anemone_seconds)
    # Otherwise the status of the command before may be found, as long as this one has not begun.
    : >"$SCRATCH/soon"
    ("$@" >"$SCRATCH/soon" 2>&1; echo "status $?" >>"$SCRATCH/soon") &
    wait_for 20 "the end of $*" has_ended || fail "$*: it waits for the disk"
    STATUS=$(sed -n 's/^status //p' "$SCRATCH/soon")
    say "ended after $(($(anemone_seconds) - from)) s with $STATUS: $*"
}
has_ended() { grep -q '^status' "$SCRATCH/soon"; }
said() { dmesg | grep -q "$1" || fail "not said: $1: $(dmesg | tail)"; }
is_in_use() {
    soon anemone_unload
    [ "$STATUS" != 0 ] || fail "unloaded while a disk is being $1"
    grep -qi -e "in use" -e busy -e "temporarily unavailable" "$SCRATCH/soon" || fail "rmmod: $(cat "$SCRATCH/soon")"
}
closed() { dmesg | grep -q "block device [0-9:]*: closed"; }
unloaded() { wait_for 20 "rmmod" anemone_unload && nothing_left || fail "unload"; }

# Loading. A load that fails for another reason fails at once.
fresh
hold
soon insmod "$ANEMONE_MODULE" interface=nowhere0 servers="$ANEMONE_SERVERS" local_device="$loop"
[ "$STATUS" != 0 ] || fail "loaded without an interface"
nothing_left || fail "something is left"
soon anemone_load size_mib=64 local_device="$loop"
[ "$STATUS" = 0 ] || fail "load: $(cat "$SCRATCH/soon")"
said "local_device=$loop: still being opened"
disk_is none || fail "$(cat "$ANEMONE_DEBUG/disk")"
put_all "$SCRATCH/random" || fail "writing without the disk"
is_in_use opened
soon anemonectl attach "$loop"
[ "$STATUS" != 0 ] || fail "attached what cannot be opened"
said "$loop cannot be attached: a disk is still being opened"
let_go
disk_wait attached || fail "it is not used when it is open: $(dmesg | tail)"
said "local disk [0-9:]*: attached"
disk_up_to_date || fail "mirror"
on_disk "$SCRATCH/random" 0 16 || fail "not on the disk"
wait_for 30 "the disk detached" anemonectl detach || fail "detach"
same_as "$SCRATCH/random" || fail "reading"
unloaded
losetup -d "$loop" || fail "the loop device is held"

# The disk that is open too late is not suitable.
fresh
hold
soon anemone_load size_mib=128 overcommit=1 local_device="$loop"
[ "$STATUS" = 0 ] || fail "load: $(cat "$SCRATCH/soon")"
let_go
is_refused() { dmesg | grep -q "local disk [0-9:]* is too small"; }
wait_for 20 "it is refused" is_refused || fail "not said: $(dmesg | tail)"
disk_is none || fail "$(cat "$ANEMONE_DEBUG/disk")"
wait_for 20 "the disk is closed" closed || fail "not closed: $(dmesg | tail)"
unloaded
losetup -d "$loop" || fail "the loop device is held"

# A signal does not end the wait for the disk, which lasts a second. On a busy machine the second may be over before the
# disk is let go; then the load must have waited that long, and another attempt is made.
is_opening() { [ -e /dev/anemone-control ]; }
gave_up() { dmesg | grep -q "still being opened"; }
# log_us TEXT: when TEXT was logged, in microseconds.
log_us() { dmesg | sed -n "s/^\[ *\([0-9]*\)\.\([0-9]*\)\].*$1.*/\1\2/p" | head -n 1; }
for attempt in 1 2 3 4 5; do
    fresh
    hold
    echo "test: loading begins" >/dev/kmsg
    insmod "$ANEMONE_MODULE" interface=eth0 servers="$ANEMONE_SERVERS" size_mib=64 local_device="$loop" &
    loading=$!
    wait_for 20 "the disk is being opened" is_opening || fail "load"
    kill -TERM $loading
    let_go
    wait $loading
    disk_wait attached || fail "it is not used: $(dmesg | tail)"
    if gave_up; then
        waited_us=$(($(log_us "still being opened") - $(log_us "test: loading begins")))
        [ "$waited_us" -ge 1000000 ] || fail "loaded without the disk after $waited_us us: $(dmesg | tail)"
        say "attempt $attempt: the disk was held for longer than a second"
    fi
    unloaded
    losetup -d "$loop" || fail "the loop device is held"
    gave_up || break
done

# The disk opens while the module is being unloaded.
is_unloaded() { rmmod anemone 2>/dev/null; }
for round in 1 2 3 4 5 6; do
    fresh
    hold
    soon anemone_load size_mib=64 local_device="$loop"
    [ "$STATUS" = 0 ] || fail "load: $(cat "$SCRATCH/soon")"
    (until is_unloaded; do :; done) &
    unloading=$!
    let_go
    wait $unloading
    nothing_left || fail "something is left in round $round"
    losetup -d "$loop" || fail "the loop device is held in round $round"
done

# Attaching what lies on such a disk.
fresh
dmsetup create upper --noudevsync --noudevrules --table "0 $DISK_SECTORS linear $loop 0" || fail "dmsetup"
upper=/dev/$(dmsetup info -c --noheadings -o blkdevname upper)
anemone_load size_mib=64 || fail "load"
hold
soon anemonectl attach "$upper"
[ "$STATUS" != 0 ] || fail "attached, although it is not known what it is made of"
said "$upper cannot be attached: it, or a disk below it, is being opened"
disk_is none || fail "$(cat "$ANEMONE_DEBUG/disk")"
let_go
anemonectl attach "$upper" || fail "attach"
disk_is attached || fail "$(cat "$ANEMONE_DEBUG/disk")"
wait_for 30 "the disk detached" anemonectl detach || fail "detach"
unloaded
dmsetup remove upper && losetup -d "$loop" || fail "they are held"

# Detaching.
fresh
anemone_load size_mib=64 local_device="$loop" || fail "load"
put_all "$SCRATCH/random" && disk_up_to_date || fail "mirror"
hold
soon anemonectl detach
[ "$STATUS" = 0 ] || fail "detach: $(cat "$SCRATCH/soon")"
disk_is none || fail "$(cat "$ANEMONE_DEBUG/disk")"
said "still being closed"
is_in_use closed
same_as "$SCRATCH/random" || fail "reading without the disk"
let_go
wait_for 20 "the disk is closed" closed || fail "not closed: $(dmesg | tail)"
unloaded
losetup -d "$loop" || fail "the loop device is held"

# Unloading: the module is gone before the disk is closed.
fresh
anemone_load size_mib=64 local_device="$loop" || fail "load"
put_all "$SCRATCH/random" && disk_up_to_date || fail "mirror"
hold
soon anemone_unload
[ "$STATUS" = 0 ] || fail "unload: $(cat "$SCRATCH/soon")"
nothing_left || fail "something is left"
said "not closed yet"
let_go
released() { anemone_load size_mib=64 local_device="$loop" 2>/dev/null; }
wait_for 20 "the disk is released" released || fail "it is held: $(dmesg | tail)"
disk_is attached || fail "$(cat "$ANEMONE_DEBUG/disk")"
unloaded
losetup -d "$loop" || fail "the loop device is held"
