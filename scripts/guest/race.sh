#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# The race's part in the VM, whose time is a count of instructions. It enables swap, and sorts more text than there is
# memory.
#
#   race.sh anemone|disk SEED TEXT_MIB DEVICE_MIB MEMORY_MIB
#
# From the first byte to the last no task waits for anything outside this machine, because such a wait would take an
# arbitrary amount of its time. So the programs of the sort are in memory, and nothing else runs but
# what reads the statistics of its memory (renew_statistics).
#
# It reports to scripts/demo in lines of a word and values. Times are nanoseconds since the boot:
#   made|sorted BYTES TIME        progress, on the console
#   digest BYTES DIGEST TIME      of the sorted text, with the time of its last byte
#   before|after NAME VALUE       counters of the kernel and the module
#   page_in POWER COUNT           faults for which a page was read that took 2^(POWER-1) to 2^POWER ns
#   waited TIME                   the total time of these faults
#   memory PEAK                   the most bytes that the sort's programs have used
#   disk TEXT                     the disk's counters
#   problem TEXT                  an error
# shellcheck source=/dev/null # it exists in the guest only
. "$ANEMONE_LIB"

kind=$1 seed=$2 text_mib=$3 device_mib=$4 memory_mib=$5
# A wire of 1 Gbit/s each way. The delay is the time for a switch to forward a frame (12 us at full length), and for two
# interfaces and the switch to process it. The overhead is preamble, checksum and gap.
wire="rate 1gbit 24 delay 25us limit 10000"
disk=/dev/nbd0 cache_mib=8
held=/run/held shell=$(readlink -f /bin/sh)
tracing=/sys/kernel/tracing
group=/sys/fs/cgroup/sort
# The sort begins at a whole multiple of this many seconds, which is also a multiple of the disk's revolutions and the
# kernel's ticks. So the time of the boot, which depends on the host, does not affect the result.
begin_at_s=16

problem() { echo "problem $*"; }

# A root directory in memory that is never reclaimed, with the programs of the sort and the shell that waits for them.
hold() { mkdir -p "$held${1%/*}" && cp -L "$1" "$held$1"; }
hold_programs() {
    mkdir -p "$held" && mount -t ramfs ramfs "$held" && mkdir "$held/dev" &&
        mknod "$held/dev/console" c 5 1 || return
    for program in /usr/bin/anemone-text /usr/bin/sort "$shell"; do
        hold "$program" || return
        for library in $(LD_TRACE_LOADED_OBJECTS=1 "$program" 2>/dev/null | grep -o '/[^ ]*'); do
            hold "$library" || return
        done
    done
}

# Anemone's network, and the disk: each as slow as a real one.
swap_on_anemone() {
    # shellcheck disable=SC2086 # words on purpose
    tc qdisc add dev "$ANEMONE_INTERFACE" root netem $wire &&
        ip netns exec switch tc qdisc add dev uplink root netem $wire || return
    anemone_load "size_mib=$device_mib"
}
has_disk() { [ -e "/sys/block/${disk##*/}/pid" ] && [ "$(cat "/sys/block/${disk##*/}/size")" -gt 0 ]; }
swap_on_disk() {
    modprobe nbd nbds_max=1 || return
    anemone-disk --device "$disk" --mib "$device_mib" --cache-mib "$cache_mib" >/run/disk 2>&1 &
    disk_pid=$!
    wait_for 30 "the disk" has_disk || { cat /run/disk; return 1; }
    ANEMONE_DEVICE=$disk
}

# A control group with this much memory, for the programs of the sort. So both machines give them the same amount, whatever
# else is in them. Above memory.high they wait for pages to be written; memory.max kills on any fast swap device (docs/administration.md, "Programs with a memory limit").
limit_memory() { mkdir "$group" && echo "${memory_mib}M" >"$group/memory.high"; }
# shellcheck disable=SC2016 # for the shell that becomes the command
in_group() { sh -c 'echo $$ >"$0/cgroup.procs" && exec "$@"' "$group" "$@"; }

# Reclaim decides by statistics of the group that the kernel renews every two seconds (docs/administration.md,
# "Programs with a memory limit"). With old ones it may find nothing to reclaim, and then the kernel stops the sort for
# up to a second. Reading the statistics renews them.
renew_statistics() { while sleep 0.1; do read -r _ <"$group/memory.stat"; done; }

# shellcheck disable=SC2016 # variables of the tracer's, not of the shell's
# Measures the time of each fault that reads a page.
trace_faults() {
    [ -e "$tracing/trace_clock" ] || mount -t tracefs tracefs "$tracing" || return
    echo mono >"$tracing/trace_clock" &&
        echo 'p:fault_begins do_swap_page' >"$tracing/kprobe_events" &&
        echo 'r:fault_ends do_swap_page result=$retval:u32' >>"$tracing/kprobe_events" &&
        echo 'page_in u64 time' >"$tracing/synthetic_events" &&
        echo 'hist:keys=common_pid:begin=common_timestamp' >"$tracing/events/kprobes/fault_begins/trigger" &&
        # 4: VM_FAULT_MAJOR
        echo 'hist:keys=common_pid:time=common_timestamp-$begin:onmatch(kprobes.fault_begins).page_in($time) if result & 4' \
            >"$tracing/events/kprobes/fault_ends/trigger" &&
        echo 'hist:keys=time.log2' >"$tracing/events/synthetic/page_in/trigger" &&
        echo 'hist:keys=common_pid:vals=time' >>"$tracing/events/synthetic/page_in/trigger"
}
show_faults() {
    awk '
        /time: ~ 2\^/ { sub(/.*2\^/, ""); print "page_in", $1, $NF }
        /common_pid:/ { sum += $NF }
        END { printf "waited %.0f\n", sum }' "$tracing/events/synthetic/page_in/hist"
}

values_of() {
    files=/proc/vmstat
    [ "$kind" = disk ] || files="$files $ANEMONE_DEBUG/counters"
    # shellcheck disable=SC2086 # words on purpose
    awk -v "when=$1" 'FILENAME != "/proc/vmstat" || $1 ~ /^(pswpout|pswpin|swpout_zero|oom_kill|pgmajfault)$/ {
        print when, $1, $2 }' $files
}

hold_programs || fail "the sort's programs cannot be held in memory"
"swap_on_$kind" || fail "there is nothing to swap on"
anemone_swapon || fail "cannot swap on $ANEMONE_DEVICE"
echo 100 >/proc/sys/vm/swappiness
trace_faults || fail "faults cannot be traced"
values_of before
limit_memory || fail "memory cannot be limited"

renew_statistics &
renewing=$!

# The programs' addresses are the same each time, because read-ahead depends on them.
echo 0 >/proc/sys/kernel/randomize_va_space
# The sort has no place for temporary files: it holds the whole text in memory, or fails.
# shellcheck disable=SC2016 # that shell's variables
seed=$seed text_mib=$text_mib begin_at_s=$begin_at_s LC_ALL=C in_group /bin/busybox chroot "$held" "$shell" -c '
    PATH=/usr/bin
    anemone-text make --begin-at-multiple "$begin_at_s" --seed "$seed" --mib "$text_mib" --progress /dev/console |
        sort --parallel=1 --buffer-size="$((text_mib * 5 / 4))M" --temporary-directory=/nonexistent |
        anemone-text digest --progress /dev/console' >/run/digest 2>/run/errors
echo "digest $(cat /run/digest)"
while read -r line; do problem "$line"; done </run/errors

kill "$renewing" || problem "the group's statistics were not renewed"
echo "memory $(cat "$group/memory.peak")"
values_of after
show_faults
swapoff "$ANEMONE_DEVICE" || problem "swap on $ANEMONE_DEVICE cannot be turned off"
case $kind in
anemone)
    for drops in $(tc -s qdisc show dev "$ANEMONE_INTERFACE" | grep -o 'dropped [0-9]*' | cut -d ' ' -f 2); do
        [ "$drops" -eq 0 ] || problem "the wire has dropped $drops frames"
    done
    anemone_unload || problem "the module cannot be unloaded"
    ;;
disk)
    { kill "$disk_pid" && wait "$disk_pid"; } || problem "the disk ended badly"
    echo "disk $(cat /run/disk)"
    ;;
esac
# The first line says that there is a problem, the second one which. The console has all of it.
kernel_log_clean 2>/run/kernel || problem "the kernel's log is not clean: $(sed -n 2p /run/kernel)"
