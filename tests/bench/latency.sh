#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Runs in the client: the cost of a page-in and a page-out at depth 1 and 16, and of a RAM disk under the same
# load. Prints lines of DISK OPERATION DEPTH MICROSECONDS.
# shellcheck source=/dev/null # it exists in the guest only
. "$ANEMONE_LIB"

SIZE_MIB=64

# cost DISK OPERATION DEPTH REQUESTS: microseconds an operation, that is, 1 / IOPS.
cost() {
    iops=$(fio --name=cost --filename="/dev/$1" --direct=1 --ioengine=io_uring --bs=4k \
        --size="${SIZE_MIB}m" --rw="$2" --iodepth="$3" --number_ios="$4" --randseed=7 \
        --output-format=json | awk -v want="$2" '
            /"read" : [{]/ { part = "randread" } /"write" : [{]/ { part = "randwrite" }
            part == want && /"iops" :/ { gsub(/[",]/, ""); print $3; exit }')
    awk -v iops="$iops" -v line="$1 $2 $3" 'BEGIN { printf "%s %.2f\n", line, 1e6 / iops }'
}

measure() {
    dd if=/dev/urandom of="/dev/$1" bs=1M count="$SIZE_MIB" oflag=direct 2>/dev/null ||
        fail "/dev/$1 cannot be filled"
    for depth in 1 16; do
        cost "$1" randread "$depth" 4000
        cost "$1" randwrite "$depth" 4000
    done
}

requires fio modprobe
modprobe brd rd_nr=1 rd_size=$((SIZE_MIB * 1024)) || fail "no RAM disk"
measure ram0
anemone_load encrypt=0 size_mib="$SIZE_MIB" || fail "load"
measure anemone
# A lost frame would be a figure of the timer's, not of the path's.
[ "$(counter timeouts)" -eq 0 ] || fail "frames were lost: $(counter timeouts) timeouts"
[ "$(counter pages_out_degraded)" -eq 0 ] || fail "page-outs had fewer than two copies"
anemone_unload
kernel_log_clean
