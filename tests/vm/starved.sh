# shellcheck shell=sh disable=SC2015
# SPDX-License-Identifier: GPL-2.0
# The load of a machine that swaps out several times its memory, with almost none in reserve and
# atomic allocations beside it. Sourced after common.sh.

needs_machines
requires anemone-test
echo 10 >/proc/sys/vm/watermark_scale_factor
echo 512 >/proc/sys/vm/min_free_kbytes
# Read-ahead would read seven more pages each time, for nothing: the program reads in random order.
echo 0 >/proc/sys/vm/page-cluster
say "memory: $(sed -n 's/^\(MemTotal\|MemAvailable\): *//p' /proc/meminfo | tr '\n' ' ')"

# Answers to datagrams are allocated in softirq, from the same reserve.
storm_begin() {
    : >"$SCRATCH/storm"
    anemone-test storm --while "$SCRATCH/storm" >"$SCRATCH/storm.out" 2>&1 &
    STORM=$!
}
storm_end() { rm -f "$SCRATCH/storm" && wait "$STORM" && cat "$SCRATCH/storm.out" >&2; }

# The load: pages that contain their address and version, more than twice the machine's memory. Swap
# space has more than twice that again, so that no page is written only because swap is nearly full.
load() {
    storm_begin
    anemone-test pages --mib 112 --passes 1 >"$SCRATCH/pages" 2>&1
    load_status=$?
    storm_end && return $load_status
}

# A load that completes with swap on an ordinary disk must complete with swap on the device.
swaps_on_disk() {
    mkswap "$ANEMONE_DISK" >/dev/null && swapon "$ANEMONE_DISK" || fail "swap on the disk"
    from=$(anemone_seconds)
    load || skip "on an ordinary disk the load does not end either: $(tail -n 1 "$SCRATCH/pages")"
    say "on a disk: $(($(anemone_seconds) - from)) s"
    swapoff "$ANEMONE_DISK" && dd if=/dev/zero of="$ANEMONE_DISK" bs=4k count=1 conv=notrunc 2>/dev/null || fail "swapoff of the disk"
}

# swaps NAME PARAMETER=VALUE...: the load completes on the network.
swaps() {
    variant=$1
    shift
    dmesg -c >/dev/null
    anemone_load size_mib=320 "$@" || fail "$variant: load"
    anemone_swapon || fail "$variant: swapon"
    from=$(anemone_seconds) out=$(counter pages_out)
    load || fail "$variant: the load does not end: $(cat "$SCRATCH/pages")"
    expect_more "$variant: pages out" $((out + 25000)) "$(counter pages_out)"
    nothing_failed || fail "$variant: some pages failed"
    say "$variant: $(($(anemone_seconds) - from)) s, $(counter pages_out) pages out, $(counter pages_in) in"
    kernel_log_clean || fail "$variant: the kernel's log"
    swapoff "$ANEMONE_DEVICE" && anemone_unload || fail "$variant: swapoff"
}
