#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# what: what goes wrong is drawn from a seed, one thing after another, under a load that verifies every byte
# vm: --single --servers 3 --server-mem 96 --client-mem 192 --client-cpus 2 --file tests/vm/common.sh --file tests/vm/repair.sh --file build/anemone-test
# bound: 300
# shellcheck source-path=SCRIPTDIR source=common.sh source=repair.sh disable=SC2015
#
# Not numbered: `make soak` runs it, with two more files beside it: soak-seed, and soak-steps, the
# number of disturbances. Each is undone before the next, and the load must go on in between, so
# that a run of any length waits for conditions only.
. "$(dirname "$0")/common.sh"
. "$(dirname "$0")/repair.sh"

requires anemone-test tc
needs_single
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

# A while that is drawn: it is the disturbance, not a wait for something.
for_a_while() {
    choose 0.05 0.2 0.5 1 2 4
    sleep "$CHOSEN"
}

# rough N OPTION...: netem treats what N sends so, for a while, and did so.
rough() {
    netem "$@" || fail "netem $*"
    for_a_while
    netem_off "$1" || fail "netem off $1"
}

one_server() {
    draw 3
    SERVER=$((DRAWN + 1))
}

# No page may have its only copy on the server that is killed next: each is copied again first.
killed() {
    disturb kill "$1" || fail "kill $1"
    for_a_while
    load_progress "$(scaled 50 5)" || fail "nothing goes on without server $1"
    host start "$1" || fail "start $1"
    wait_for 30 "server $1 is used again" is_healthy "$1" || fail "$(cat "$ANEMONE_DEBUG/servers")"
    repaired 120 || fail "not every page has its copies again"
}

new_load() {
    load_end || fail "the load"
    anemone_unload || fail "unload"
    begin
}

begin() {
    choose 1500 1500 9000
    set_mtu "$CHOSEN" || fail "mtu $CHOSEN"
    choose 2 2 3
    REPLICAS=$CHOSEN
    anemone_load size_mib=48 "replicas=$REPLICAS" || fail "load"
    load_begin --threads 2 --blocks "$(scaled 1024 4)"
    load_progress "$(scaled 100 5)" || fail "the load does not begin"
}

step() {
    one_server
    choose loss repeat reorder corrupt delay pause cut kill kill down mtu both anew
    say "step $1 of $STEPS: $CHOSEN, server $SERVER"
    case $CHOSEN in
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
    kill) killed "$SERVER" ;;
    anew) new_load ;;
    esac
    wait_for 40 "every server is up" all_up || fail "$(cat "$ANEMONE_DEBUG/servers")"
    load_progress "$(scaled 50 5)" || fail "the load does not go on"
}

all_up() { is_healthy 1 && is_healthy 2 && is_healthy 3; }

say "seed $SEED, $STEPS steps"
begin
number=0
while [ "$number" -lt "$STEPS" ]; do
    number=$((number + 1))
    step "$number"
done
load_end || fail "the load"
nothing_failed || fail "some pages failed"
