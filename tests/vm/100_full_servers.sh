#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# what: a program that outgrows its servers is killed as with a full disk; the machine continues, and nothing else is lost
# machine: disk
# bound: 400
# debug: yes
# shellcheck source-path=SCRIPTDIR source=common.sh disable=SC2015
. "$(dirname "$0")/common.sh"
needs_single
requires anemone-test
[ "$ANEMONE_SERVER" ] || skip "there is no memory server"
ROOM_MIB=12

# outgrow WHERE: runs a program that needs several times the available space. It must be killed.
outgrow() {
    group=/sys/fs/cgroup/test-grows
    mkdir -p $group && echo 16M >$group/memory.max || fail "no cgroup"
    # The kernel's buffer is too small for all that is logged until the program is killed.
    echo "test: begins $1" >/dev/kmsg
    cat /dev/kmsg >"$SCRATCH/kmsg" &
    reader=$!
    from=$(anemone_seconds)
    sh -c 'echo $$ >"$0/cgroup.procs" && exec anemone-test pages --mib "$1" --passes 1' $group "$(scaled 64 2)" >"$SCRATCH/pages" 2>&1
    status=$?
    say "$1: gone after $(($(anemone_seconds) - from)) s, with status $status"
    [ "$status" -eq 137 ] || fail "$1: the program was not killed: $(tail -n 3 "$SCRATCH/pages")"
    # The killed program frees its memory and its swap.
    wait_for 20 "an empty cgroup" rmdir $group || fail "the group is not empty"
    # The OOM killer's report has a call trace. Nothing else may have one.
    echo "test: ends $1" >/dev/kmsg
    wait_for 20 "the whole log" grep -q ";test: ends $1" "$SCRATCH/kmsg" || fail "$1: the log is not whole"
    kill $reader
    dmesg -c >/dev/null
    sed "1,/;test: begins $1/d" "$SCRATCH/kmsg" >"$SCRATCH/log"
    grep -q 'Memory cgroup out of memory: Killed process' "$SCRATCH/log" || fail "$1: not for want of memory"
    grep -E 'WARNING:|BUG:|blocked for more than|lockup' "$SCRATCH/log" && fail "$1: the kernel's log"
}

mkswap "$ANEMONE_DISK" $((ROOM_MIB * 1024)) >/dev/null && swapon "$ANEMONE_DISK" || fail "swap on the disk"
outgrow "on a full disk"
swapoff "$ANEMONE_DISK" && dd if=/dev/zero of="$ANEMONE_DISK" bs=4k count=1 conv=notrunc 2>/dev/null || fail "swapoff of the disk"

for server in 1 2; do
    # In place of the usual server, which has more space.
    disturb kill $server || fail "kill $server"
    ip netns exec "server$server" "$ANEMONE_SERVER" --interface eth0 --capacity ${ROOM_MIB}M >"$SCRATCH/server$server" 2>&1 &
done
# A device that is larger than its servers is refused, unless overcommit=1.
set -- interface=eth0 servers="$(servers 1 2)" size_mib=96
refused ENOSPC "size_mib=96 is more than the servers have room for: 2 servers have [0-9]* MiB, enough for [0-9]* MiB in 2 copies" "$@"
refused ENOSPC "1 servers have [0-9]* MiB, enough for [0-9]* MiB in 1 copies" interface=eth0 servers="$(servers 1)" size_mib=96 replicas=1
# If a page-out waited for the I/O timeout, the test would exceed its own limit.
anemone_load "$@" overcommit=1 io_timeout_s=3600 || fail "load with overcommit: $(cat "$SCRATCH"/server?)"
dmesg | grep -q 'anemone: the device has 96 MiB; 2 servers that answered have' || fail "no warning: $(dmesg)"
anemone_swapon || fail "swapon"
anemone-test dirty --mib 2 --hold "$SCRATCH/hold" >"$SCRATCH/dirty" 2>&1 &
program=$!
wait_for 60 "a program that is paged out" test -e "$SCRATCH/hold" || fail "$(cat "$SCRATCH/dirty")"
outgrow "on full servers"
expect_more "page-outs refused for want of room" 0 "$(counter pages_out_no_space)"
[ "$(counter pages_out_failed)" = "$(counter pages_out_no_space)" ] || fail "page-outs failed otherwise"
[ "$(counter pages_in_failed)" = 0 ] || fail "page-ins failed"
grep -q 'anemone: the servers are full and refuse page-outs' "$SCRATCH/log" || fail "it is not logged: $(grep anemone "$SCRATCH/log")"
# The other program's pages are there, and freed space is available again.
rm "$SCRATCH/hold"
wait $program || fail "another program's memory: $(cat "$SCRATCH/dirty")"
# Pages of the killed program may stay in the swap cache until their memory is needed, and keep their slots on the
# device: 1314 of them were seen on a busy host. swapoff releases them.
swapoff "$ANEMONE_DEVICE" && anemone_swapon || fail "swapoff and swapon"
# Half a million refused page-outs cause so many frees that some are dropped. The client asks these servers for
# their inventory at once, before the regular round, which takes a minute.
has_room() { [ "$(server_field 1 free_pages)" -gt 2200 ] && [ "$(server_field 2 free_pages)" -gt 2200 ]; }
from=$(anemone_seconds)
wait_for 45 "room on the servers" has_room ||
    fail "$(counter frees_dropped) frees dropped: $(cat "$ANEMONE_DEBUG/servers" "$ANEMONE_DEBUG/counters" /proc/swaps; grep -i swap /proc/meminfo; anemonectl status --json)"
say "room after $(($(anemone_seconds) - from)) s, $(counter frees_dropped) frees dropped"
refusals=$(counter pages_out_no_space)
within 5 anemone-test pages --mib 8 --passes 2 || fail "a program that fits"
[ "$(counter pages_out_no_space)" = "$refusals" ] || fail "page-outs are refused although there is room"
swapoff "$ANEMONE_DEVICE" || fail "swapoff"
# A program that writes to the device gets the error of a full disk.
dd if=/dev/urandom of="$ANEMONE_DEVICE" bs=64k oflag=direct 2>"$SCRATCH/error" && fail "96 MiB fit on servers of $ROOM_MIB MiB"
grep -qi 'no space left' "$SCRATCH/error" || fail "not for want of room: $(cat "$SCRATCH/error")"
blkdiscard -f "$ANEMONE_DEVICE" || fail "blkdiscard"
# The map notes discarded pages, so none of these frees is dropped, and no inventory is needed.
wait_for 20 "room on the servers" has_room || fail "$(cat "$ANEMONE_DEBUG/servers")"
dd if=/dev/urandom of="$ANEMONE_DEVICE" bs=64k count=64 oflag=direct 2>"$SCRATCH/error" || fail "$(cat "$SCRATCH/error")"
anemone_unload || fail "unload"
