#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# what: a program that exceeds its memory.max is killed on a RAM disk; on the device it survives with the settings of docs/administration.md
# machine: segment
# vm: --icount --servers 2 --server-mem 160 --client-mem 384 --client-cpus 1 --file build/anemone-text --file /usr/bin/sort
# bound: 300
# debug: no, its time is a count of instructions, and the kills that it expects depend on it
# shellcheck source-path=SCRIPTDIR source=common.sh disable=SC2015
#
# The kernel balances its two lists of anonymous pages by the group's statistics, which are updated every 2 s.
# With fast swap all pages are active before that. Then 17 attempts to free a page scan nothing, within 1 ms,
# and the kernel kills the group's largest program. Time is a count of instructions here: on a slower machine
# the statistics would be up to date.
. "$(dirname "$0")/common.sh"

needs_single
requires anemone-text sort
[ "$(sort --version 2>/dev/null | grep -c GNU)" -gt 0 ] || skip "sort is not GNU's"
LRU_GEN=/sys/kernel/mm/lru_gen/enabled
[ -w $LRU_GEN ] || skip "the kernel has no multi-generational LRU"
TEXT_MIB=32 TIMES=4
group=/sys/fs/cgroup/limited
# shellcheck disable=SC2016 # that shell's variable
SORT='anemone-text make --seed 1 --mib "$1" | sort --parallel=1 --buffer-size="$(($1 * 5 / 4))M" \
    --temporary-directory=/nonexistent | anemone-text digest'
digest_of() { cut -d ' ' -f 1,2 "$SCRATCH/digest"; }

# sorts WHERE [FILE VALUE]...: runs the sort several times in a group with these limits. $killed is the number
# of runs that were killed. The others must be right.
sorts() {
    where=$1 killed=0 number=1
    shift
    while [ $number -le $TIMES ]; do
        mkdir $group || fail "no cgroup"
        for limit in "$@"; do
            echo "${limit#* }" >"$group/${limit% *}" || fail "no $limit"
        done
        # shellcheck disable=SC2016 # that shell's variables
        LC_ALL=C sh -c 'echo $$ >"$0/cgroup.procs" && eval "$2"' $group $TEXT_MIB "$SORT" >"$SCRATCH/digest" 2>"$SCRATCH/error"
        kills=$(anemone_value oom_kill $group/memory.events)
        if [ "$kills" -gt 0 ]; then
            killed=$((killed + 1))
        else
            [ "$(digest_of)" = "$RIGHT" ] || fail "$where: wrong: $(digest_of) $(cat "$SCRATCH/error")"
        fi
        expect_more "$where: pages swapped out" 3000 "$(anemone_value pswpout $group/memory.stat)"
        wait_for 10 "the group is empty" rmdir $group || fail "the group is held"
        number=$((number + 1))
    done
    say "$where, $*: killed in $killed of $TIMES runs"
}

before=$(cat $LRU_GEN)
echo n >$LRU_GEN
LC_ALL=C sh -c 'eval "$2"' - $TEXT_MIB "$SORT" >"$SCRATCH/digest" || fail "the sort without a limit"
RIGHT=$(digest_of)
# The kernel's default, on a device that is certainly fast.
modprobe brd rd_nr=1 rd_size=98304 || skip "no RAM disk"
mkswap /dev/ram0 >/dev/null && swapon /dev/ram0 || fail "swapon of the RAM disk"
sorts "the RAM disk" "memory.max 16M"
[ $killed -gt 0 ] || fail "nothing was killed: is what docs/administration.md says still needed?"
swapoff /dev/ram0 && rmmod brd || fail "the RAM disk is held"
dmesg -c >/dev/null

anemone_load size_mib=96 || fail "load"
anemone_swapon || fail "swapon"
sorts "the device" "memory.high 16M" "memory.max 24M"
[ $killed = 0 ] || fail "killed with memory.high: $(dmesg | grep 'out of memory')"
echo y >$LRU_GEN
sorts "the device with the multi-generational LRU" "memory.max 16M"
[ $killed = 0 ] || fail "killed with the multi-generational LRU: $(dmesg | grep 'out of memory')"
echo $((before & 1)) >$LRU_GEN
nothing_failed || fail "some pages failed"
swapoff "$ANEMONE_DEVICE" || fail "swapoff"
