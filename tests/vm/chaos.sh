#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# what: faults are drawn from a seed, one after the other, under a load that verifies every byte
# machine: disk
# vm: --client-mem 256 --file tests/vm/repair.sh
# bound: 300
# shellcheck source-path=SCRIPTDIR source=common.sh source=disk.sh source=repair.sh disable=SC2015
#
# Not numbered: `make soak` runs it, with two more files beside it: soak-seed, and soak-steps, the
# number of disturbances. The load is a program that reads and writes the device, or one whose memory
# is swapped to it. The disk is attached or not. Each disturbance is undone before the next one, except
# lost frames, and the load must make progress in between. So a run of any length waits for conditions
# only.
. "$(dirname "$0")/common.sh"
. "$(dirname "$0")/disk.sh"
. "$(dirname "$0")/repair.sh"

requires anemone-test anemonectl tc
needs_single
modprobe dm-delay && modprobe dm-flakey || fail "no dm-delay, or no dm-flakey"
SEED=$(cat soak-seed 2>/dev/null || echo 1)
STEPS=$(cat soak-steps 2>/dev/null || echo 10)
STATE=$SEED

# draw N: sets DRAWN to a number below N (the generator of Park and Miller, 1988).
draw() {
    STATE=$(((STATE * 48271 + 11) % 2147483647))
    DRAWN=$((STATE / 16 % $1))
}

# choose WORD...: sets CHOSEN.
choose() {
    draw $#
    shift "$DRAWN"
    CHOSEN=$1
}

# For a random time. It is a part of the disturbance, not a wait for a condition.
for_a_while() {
    choose 0.05 0.2 0.5 1 2 4
    sleep "$CHOSEN"
}

# rough N OPTION...: netem disturbs what N sends for a while, and has done so.
rough() {
    netem "$@" || fail "netem $*"
    for_a_while
    netem_off "$1" || fail "netem off $1"
}

one_server() {
    draw 3
    SERVER=$((DRAWN + 1))
}

continues() { load_progress "$(scaled 50 5)" || fail "the load does not continue $*"; }
all_up() { is_healthy 1 && is_healthy 2 && is_healthy 3; }
# No page may have its only copy on a server that is killed: each is copied again first.
copied() {
    wait_for 40 "every server is up" all_up || fail "$(cat "$ANEMONE_DEBUG/servers")"
    repaired 120 || fail "not every page has its copies again"
}

killed() {
    copied
    disturb kill "$1" || fail "kill $1"
    for_a_while
    continues "without server $1"
    host start "$1" || fail "start $1"
    wait_for 30 "server $1 is used again" is_healthy "$1" || fail "$(cat "$ANEMONE_DEBUG/servers")"
    copied
}

# All at once: the disk has every page, or a buffer of it.
blackout() {
    disk_up_to_date 120 || fail "the disk does not catch up"
    for server in 1 2 3; do disturb kill $server || fail "kill $server"; done
    for_a_while
    continues "from the disk"
    for server in 1 2 3; do host start $server || fail "start $server"; done
    copied
}

# No frame passes.
silence() {
    for server in 1 2 3; do disturb link $server down || fail "link $server down"; done
    for_a_while
    for server in 1 2 3; do host link $server up || fail "link $server up"; done
}

reattached() {
    dm_linear || fail "dmsetup"
    wait_for 30 "the disk is attached again" anemonectl attach "$DM_DISK" ||
        fail "attach: $(cat "$ANEMONE_DEBUG/disk")"
    disk_is attached || fail "it is not used again: $(cat "$ANEMONE_DEBUG/disk")"
}

# The disk delays its I/O, which may be abandoned meanwhile.
disk_hangs() {
    dm_suspend || fail "dmsetup"
    for_a_while
    continues "while the disk hangs"
    dm_resume || fail "dmsetup"
    disk_wait attached 30 || fail "it is not used again"
}

disk_breaks() {
    copied
    dm_error || fail "dmsetup"
    disk_wait faulty 60 || fail "it is not faulty"
    continues "without the disk"
    reattached
}

disk_is_flaky() {
    copied
    dm "flakey $ANEMONE_DISK 0 1 1" || fail "dmsetup"
    for_a_while
    continues "with a flaky disk"
    reattached
}

disk_is_taken() {
    copied
    anemonectl detach || fail "detach"
    continues "without the disk"
    anemonectl attach "$DM_DISK" || fail "attach"
}

end() {
    load_end || fail "the load"
    nothing_failed || fail "some pages failed"
    [ "$LOAD_IS" != swap ] || swapoff "$ANEMONE_DEVICE" || fail "swapoff"
    wait_for 20 "rmmod" anemone_unload || fail "unload"
}

begin() {
    choose 1500 1500 9000
    set_mtu "$CHOSEN" || fail "mtu $CHOSEN"
    choose 2 2 3
    set -- size_mib=48 "replicas=$CHOSEN" disk_timeout_s=2
    choose 1 5 30
    set -- "$@" "loss_timeout_s=$CHOSEN"
    choose none lag strict
    MIRROR=$CHOSEN
    [ "$MIRROR" = none ] || set -- "$@" "mirror=$MIRROR" "local_device=$DM_DISK"
    choose direct swap
    LOAD_IS=$CHOSEN
    say "load: $LOAD_IS, $*"
    anemone_load "$@" || fail "load"
    if [ "$LOAD_IS" = swap ]; then
        anemone_swapon || fail "swapon"
        : >"$SCRATCH/load"
        within "$(scaled 16 4)" anemone-test pages --mib "$(scaled 32 4)" --threads 2 --while "$SCRATCH/load" >"$SCRATCH/load.out" 2>&1 &
        LOAD=$!
    else
        load_begin --threads 2 --blocks "$(scaled 1024 4)"
    fi
    load_progress "$(scaled 100 5)" || fail "the load does not begin"
}

step() {
    one_server
    set -- "$1" loss repeat reorder corrupt delay pause cut kill kill down mtu both silence reload
    # When all servers are gone, the disk has every page only with `strict`.
    [ "$MIRROR" != strict ] || set -- "$@" blackout
    [ "$MIRROR" = none ] || set -- "$@" slow hang break flaky take
    step_number=$1
    shift
    choose "$@"
    what=$CHOSEN
    choose "" "" "and frames are lost"
    # Otherwise a page-out may have only one server, and that may be the one that is killed.
    case $what in kill | reload) [ "$MIRROR" = strict ] || CHOSEN="" ;; esac
    say "step $step_number of $STEPS: $what, server $SERVER $CHOSEN"
    [ -z "$CHOSEN" ] || netem 0 loss 2% || fail "netem"
    case $what in
    loss) rough "$SERVER" loss 20% ;;
    repeat) rough 0 duplicate 30% ;;
    reorder) rough "$SERVER" delay 2ms reorder 50% ;;
    corrupt) rough "$SERVER" corrupt 5% ;;
    delay) rough 0 delay 20ms 20ms ;;
    both) rough 0 loss 5% duplicate 5% corrupt 2% ;;
    pause)
        disturb pause "$SERVER" || fail "pause"
        for_a_while
        host resume "$SERVER" || fail "resume"
        ;;
    cut)
        disturb link "$SERVER" down || fail "link down"
        for_a_while
        host link "$SERVER" up || fail "link up"
        ;;
    down)
        ip link set eth0 down
        for_a_while
        ip link set eth0 up
        ;;
    mtu)
        choose 1500 9000 4000
        set_mtu "$CHOSEN" || fail "mtu"
        for_a_while
        set_mtu 1500 || fail "mtu"
        ;;
    silence) silence ;;
    blackout) blackout ;;
    kill) killed "$SERVER" ;;
    slow)
        dm_delay 50 50 || fail "dmsetup"
        for_a_while
        dm_linear || fail "dmsetup"
        ;;
    hang) disk_hangs ;;
    break) disk_breaks ;;
    flaky) disk_is_flaky ;;
    take) disk_is_taken ;;
    reload)
        end
        begin
        ;;
    esac
    # A disturbance may have ended or restarted something: that need not exist any more.
    netem_off 0 2>/dev/null
    wait_for 40 "every server is up" all_up || fail "$(cat "$ANEMONE_DEBUG/servers")"
    continues
}

say "seed $SEED, $STEPS steps"
dm_linear || fail "dmsetup"
begin
number=0
while [ "$number" -lt "$STEPS" ]; do
    number=$((number + 1))
    step "$number"
done
end
