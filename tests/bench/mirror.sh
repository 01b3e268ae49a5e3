#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Runs in the client: the latency that the local mirror adds to a single page-out (depth 1, with a pause after
# each, so that the mirror has drained), and the cost of a mirrored page when there are many.
# The disk is a RAM disk. Prints lines of NAME MICROSECONDS. A latency is the median, because timers
# and pings disturb some page-outs.
# shellcheck source=/dev/null # it exists in the guest only
. "$ANEMONE_LIB"

SIZE_MIB=64
DISK_MIB=80

latency() {
    fio --name=cost --filename="$ANEMONE_DEVICE" --direct=1 --ioengine=io_uring --bs=4k \
        --size="${SIZE_MIB}m" --rw=randwrite --iodepth=1 --thinktime=20000 --thinktime_blocks=1 \
        --number_ios=400 --randseed=7 --lat_percentiles=1 --output-format=json | awk '
            /"write" : [{]/ { part = 1 }
            part && /"lat_ns" : [{]/ { inside = 1 }
            inside && /"50.000000" :/ { gsub(/[",]/, ""); printf "%.2f\n", $3 / 1000; exit }'
}
throughput() {
    fio --name=cost --filename="$ANEMONE_DEVICE" --direct=1 --ioengine=io_uring --bs=4k \
        --size="${SIZE_MIB}m" --rw=write --iodepth=16 --number_ios=4000 --output-format=json | awk '
            /"write" : [{]/ { part = 1 }
            part && /"iops" :/ { gsub(/[",]/, ""); printf "%.2f\n", 1e6 / $3; exit }'
}

up_to_date() { [ "$(counter out_of_sync_left)" = 0 ] && [ "$(counter repair_left)" = 0 ]; }
measure() {
    wait_for 30 "nothing left to be copied" up_to_date || fail "copying continues"
    echo "$1-latency $(latency)"
    echo "$1-throughput $(throughput)"
    [ "$(counter timeouts)" -eq 0 ] || fail "frames were lost: $(counter timeouts) timeouts"
    [ "$(counter pages_out_degraded)" -eq 0 ] || fail "page-outs had fewer than two copies"
    anemone_unload
}

requires fio modprobe
modprobe brd rd_nr=1 rd_size=$((DISK_MIB * 1024)) || fail "no RAM disk"
# Its pages are there before anything is measured.
dd if=/dev/zero of=/dev/ram0 bs=1M count="$DISK_MIB" oflag=direct 2>/dev/null
anemone_load encrypt=0 size_mib="$SIZE_MIB" || fail "load"
measure off
anemone_load encrypt=0 size_mib="$SIZE_MIB" local_device=/dev/ram0 mirror_pool_mib=32 || fail "load"
measure on
kernel_log_clean
