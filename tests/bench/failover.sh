#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Runs in the client: page-ins without a fault, and while a server is killed that has two thirds of the pages. Prints lines of `undisturbed|killed NANOSECONDS COUNT`, the latencies in
# fio's buckets, and `undisturbed|killed max NANOSECONDS`.
# shellcheck source=/dev/null # it exists in the guest only
. "$ANEMONE_LIB"

SIZE_MIB=32

# page_ins NAME: for four seconds.
page_ins() {
    fio --name=cost --filename="$ANEMONE_DEVICE" --direct=1 --ioengine=io_uring --bs=4k --rw=randread \
        --size="${SIZE_MIB}m" --iodepth=4 --time_based --runtime=4 --randseed=7 --output-format=json+ >"/run/$1.json" ||
        fail "$1: fio"
}
# Of what fio has written, the read half's buckets.
show() {
    awk -v "name=$1" '
        /"read" : [{]/ { part = 1 }
        /"write" : [{]/ { part = 0 }
        part && /"clat_ns" : [{]/ { inside = 1 }
        inside && /"max" :/ && !max { gsub(/[",]/, ""); max = $3 }
        inside && /"bins" : [{]/ { bins = 1; next }
        bins && /[}]/ { exit }
        bins { gsub(/[",]/, ""); print name, $1, $3 }
        END { print name, "max", max }' "/run/$1.json"
}

requires fio
anemone_load encrypt=0 size_mib="$SIZE_MIB" || fail "load"
dd if=/dev/urandom of="$ANEMONE_DEVICE" bs=256k oflag=direct 2>/dev/null
page_ins undisturbed
page_ins killed &
reader=$!
before=$(counter pages_in)
begun() { [ "$(counter pages_in)" -gt $((before + 5000)) ]; }
wait_for 30 "page-ins" begun || fail "nothing is read"
host kill 2 || fail "kill"
wait $reader || fail "page-ins failed when a server was killed"
[ "$(counter pages_in_failed)" -eq 0 ] || fail "$(counter pages_in_failed) page-ins failed"
show undisturbed
show killed
kernel_log_clean
