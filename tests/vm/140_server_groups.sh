#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# what: without --capacity the server takes half of what its control groups leave, wherever the limit is
# machine: server
# bound: 90
# debug: no, it tests the server program without the module, in memory of which that kernel takes a part
# shellcheck source-path=SCRIPTDIR source=common.sh source=own_server.sh disable=SC2015
. "$(dirname "$0")/common.sh"
. "$(dirname "$0")/own_server.sh"

needs_single
requires unshare
own_interface
OUTER=/sys/fs/cgroup/test_outer
INNER=$OUTER/inner
LIMIT_MIB=64
restore() {
    restore_status=$1
    [ ! -e $OUTER/cgroup.kill ] || echo 1 >$OUTER/cgroup.kill
    [ ! -d $INNER ] || wait_for 10 "an empty group" rmdir $INNER 2>/dev/null
    common_end "$restore_status"
}
trap 'restore $?' EXIT

# groups FILE VALUE: two nested groups with this setting, and no other.
groups() {
    [ ! -d $INNER ] || rmdir $INNER || fail "$INNER is in use"
    [ ! -d $OUTER ] || rmdir $OUTER || fail "$OUTER is in use"
    mkdir $OUTER && echo +memory >$OUTER/cgroup.subtree_control && mkdir $INNER || fail "no groups"
    [ $# -eq 0 ] || echo "$2" >"$1" || fail "$1"
}

# shellcheck disable=SC2016 # for the shell that becomes the command
in_group() { exec sh -c 'echo $$ >"$0/cgroup.procs" && exec "$@"' $INNER "$@"; }
in_namespace() { in_group unshare -C "$@"; }
# shellcheck disable=SC2016 # for the inner shell
in_mounted_namespace() {
    in_group unshare -C -m sh -c 'umount /sys/fs/cgroup && mount -t cgroup2 cgroup2 /sys/fs/cgroup && exec "$@"' sh "$@"
}
# shellcheck disable=SC2016 # for the inner shell
in_hidden() { in_group unshare -C -m sh -c 'umount /sys/fs/cgroup && exec "$@"' sh "$@"; }

# takes_half WHAT WRAPPER: a server obeys the limit, takes a good part of it, and lives;
# more than the limit is refused with the limit's name.
takes_half() {
    own_server "$2" || fail "$1: it does not serve: $(cat "$OWN_LOG")"
    takes_mib=$(($(own_server_field pages) * 4096 / 1048576))
    [ "$takes_mib" -le $((LIMIT_MIB / 2)) ] || fail "$1: it took $takes_mib MiB"
    [ "$takes_mib" -ge $((LIMIT_MIB / 4)) ] || fail "$1: it took only $takes_mib MiB"
    ! own_server_says "cannot be seen" || fail "$1: $(cat "$OWN_LOG")"
    own_server_end || fail "$1: it ended with $OWN_STATUS"
    own_server "$2" --capacity "$((LIMIT_MIB * 5 / 4))M" && fail "$1: more than the limit was taken"
    [ "$OWN_STATUS" = 5 ] || fail "$1: beyond the limit it ended with $OWN_STATUS"
    own_server_says "ERROR.*too little memory: .*below the limit in .*memory\.$takes_limit" || fail "$1: $(cat "$OWN_LOG")"
    ! grep -q -e 'oom_kill [1-9]' -e 'max [1-9]' $OUTER/memory.events || fail "$1: $(cat $OUTER/memory.events)"
    say "ok: $1: $takes_mib MiB"
}

own_server exec --capacity 8M || fail "it does not serve at all"
own_server_end || fail "it ended with $OWN_STATUS"

takes_limit=max
groups $INNER/memory.max ${LIMIT_MIB}M
takes_half "a limit of its own group" in_group
takes_half "a namespace of its own under the host's mount" in_namespace
takes_half "a namespace with a mount of its own" in_mounted_namespace
groups $OUTER/memory.max ${LIMIT_MIB}M
takes_half "a limit of the group above" in_group
takes_half "a limit above its namespace, under the host's mount" in_namespace
takes_limit=high
groups $INNER/memory.high ${LIMIT_MIB}M
takes_half "a limit above which it would be throttled" in_group

# The unlimited server takes more: so the limits mattered.
groups
own_server in_group || fail "without a limit it does not serve"
own_mib=$(($(own_server_field pages) * 4096 / 1048576))
[ "$own_mib" -gt $LIMIT_MIB ] || fail "without a limit it took only $own_mib MiB"
own_server_end || fail "it ended with $OWN_STATUS"

# If nothing shows the limit, the server logs that, once.
own_server in_hidden || fail "without a control group file system it does not serve"
[ "$(grep -c 'WARN.*limit cannot be seen.*give --capacity' "$OWN_LOG")" = 1 ] || fail "it does not say that it cannot see: $(cat "$OWN_LOG")"
own_server_end || fail "it ended with $OWN_STATUS"
