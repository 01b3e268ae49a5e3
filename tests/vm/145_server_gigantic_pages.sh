#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# what: the server works if the kernel's default huge page is 1 GiB and one is set aside: on ordinary pages, which it logs, or on those of 2 MiB
# machine: server
# vm: --client-mem 2304 --kernel-parameter default_hugepagesz=1G --kernel-parameter hugepagesz=1G --kernel-parameter hugepages=1
# bound: 60
# debug: no, it tests the server program without the module
# shellcheck source-path=SCRIPTDIR source=common.sh source=own_server.sh disable=SC2015
. "$(dirname "$0")/common.sh"
. "$(dirname "$0")/own_server.sh"

needs_single
own_interface
GIGANTIC=/sys/kernel/mm/hugepages/hugepages-1048576kB
SMALLER=/sys/kernel/mm/hugepages/hugepages-2048kB
[ -d $GIGANTIC ] || skip "this processor has no pages of 1 GiB"
grep -q '^Hugepagesize: *1048576 kB' /proc/meminfo || fail "the default is another: $(grep Huge /proc/meminfo)"
[ "$(cat $GIGANTIC/free_hugepages)" = 1 ] || fail "no page of 1 GiB is free: $(grep Huge /proc/meminfo)"

own_server exec --capacity 40M || fail "it does not serve: it ended with $OWN_STATUS"
own_server_says 'WARN.*huge pages of 1048576 KiB are set aside.*hugepagesz=2M hugepages=[12][0-9]$' || fail "it does not say so: $(cat "$OWN_LOG")"
! own_server_says 'backing="huge pages set aside"' || fail "$(cat "$OWN_LOG")"
own_server_end || fail "it ended with $OWN_STATUS"
[ "$(cat $GIGANTIC/free_hugepages)" = 1 ] || fail "the page of 1 GiB was taken"

echo 24 >$SMALLER/nr_hugepages
[ "$(cat $SMALLER/free_hugepages)" = 24 ] || fail "no huge pages"
own_server exec --capacity 40M || fail "it does not serve: it ended with $OWN_STATUS"
own_server_says 'backing="huge pages set aside"' || fail "not on them: $(cat "$OWN_LOG")"
[ "$(cat $SMALLER/free_hugepages)" -lt 10 ] || fail "it has not taken them"
awk '/^[0-9a-f]+-[0-9a-f]+ / { size = 0 } /^Size:/ { size = $2 } /^KernelPageSize: *2048 kB/ { huge = size }
    /^VmFlags:/ && / dd( |$)/ && huge { left_out += huge } /^VmFlags:/ { huge = 0 }
    END { exit left_out < 20480 }' "/proc/$OWN_SERVER/smaps" || fail "they are not left out of dumps: $(cat "/proc/$OWN_SERVER/smaps")"
own_server_end || fail "it ended with $OWN_STATUS"
echo 0 >$SMALLER/nr_hugepages
ip link del mem0
