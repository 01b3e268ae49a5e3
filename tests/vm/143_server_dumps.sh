#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# what: the server leaves no core dump, and its arena and ring are excluded from dumps, on ordinary and on huge pages; the kernel kills others first
# machine: server
# bound: 60
# debug: no, it tests the server program without the module
# shellcheck source-path=SCRIPTDIR source=common.sh source=own_server.sh disable=SC2015
. "$(dirname "$0")/common.sh"
. "$(dirname "$0")/own_server.sh"

needs_single
own_interface
CORES=$(mktemp -d)
cores_before=$(cat /proc/sys/kernel/core_pattern)
restore() {
    restore_status=$1
    echo 0 >/proc/sys/vm/nr_hugepages
    echo "$cores_before" >/proc/sys/kernel/core_pattern
    rm -rf "$CORES"
    common_end "$restore_status"
}
trap 'restore $?' EXIT
echo "$CORES/core.%e" >/proc/sys/kernel/core_pattern
# shellcheck disable=SC3045 # busybox and bash have it
ulimit -c unlimited
# Other programs do leave one here.
# shellcheck disable=SC2016 # for the shell that dies
sh -c 'kill -ABRT $$'
[ -n "$(ls "$CORES")" ] || fail "no program leaves a core dump here"
rm -f "$CORES"/*

# dumped_kib: the part of the server's writable memory that another program's dump of it would have.
dumped_kib() {
    awk '/^[0-9a-f]+-[0-9a-f]+ / { writable = $2 ~ /w/ }
        /^Size:/ { size = $2 }
        /^VmFlags:/ && writable && !/ dd( |$)/ { sum += size }
        END { print sum + 0 }' "/proc/$OWN_SERVER/smaps"
}
left_out_kib() {
    awk '/^Size:/ { size = $2 } /^VmFlags:/ && / dd( |$)/ { sum += size } END { print sum + 0 }' "/proc/$OWN_SERVER/smaps"
}
# leaves_none BACKING: a server whose pages have this backing.
leaves_none() {
    own_server exec --capacity 40M || fail "it does not serve"
    own_server_says "backing=\"$1" || fail "not on $1: $(cat "$OWN_LOG")"
    [ "$(left_out_kib)" -ge $((36 * 1024)) ] || fail "on $1 only $(left_out_kib) KiB are left out of dumps: $(cat "/proc/$OWN_SERVER/smaps")"
    [ "$(cat "/proc/$OWN_SERVER/oom_score_adj")" = -900 ] || fail "its oom_score_adj is $(cat "/proc/$OWN_SERVER/oom_score_adj"): $(cat "$OWN_LOG")"
    own_server_says ' ready .*oom_score_adj=-900' || fail "it does not say so: $(cat "$OWN_LOG")"
    # Heap and stacks, which hold no page.
    [ "$(dumped_kib)" -le 4096 ] || fail "on $1 a dump has $(dumped_kib) KiB: $(cat "/proc/$OWN_SERVER/smaps")"
    kill -ABRT "$OWN_SERVER"
    wait "$OWN_SERVER"
    [ $? -eq 134 ] || fail "it did not end by the signal"
    [ -z "$(ls "$CORES")" ] || fail "on $1 it left $(ls -l "$CORES")"
    say "ok: $1: $(own_server_field pages) pages"
}
leaves_none ""
echo 24 >/proc/sys/vm/nr_hugepages
[ "$(cat /proc/sys/vm/nr_hugepages)" = 24 ] || fail "no huge pages"
leaves_none "huge pages set aside"
# If there are too few huge pages, the log reports it.
echo 4 >/proc/sys/vm/nr_hugepages
own_server exec --capacity 40M || fail "it does not serve without huge pages"
own_server_says "WARN.*of the huge pages set aside 4 are free, and [12][0-9] are needed" || fail "$(cat "$OWN_LOG")"
own_server_end || fail "it ended with $OWN_STATUS"
ip link del mem0
