# shellcheck shell=sh disable=SC2015
# SPDX-License-Identifier: GPL-2.0
# What the numbered kernel tests share, on top of "$ANEMONE_LIB". Sourced first by each:
#
#   . "$(dirname "$0")/common.sh"
#
# A test's header says:
#   # what: one sentence
#   # machine: the kind of machine that it needs, one of tests/vm/machines
#   # vm: options of `scripts/vm run` beside those of that kind
#   # bound: seconds that it may take on a machine with 2 cores under TCG
#   # debug: yes, or `no, REASON`     whether it is run on the debug kernel as well
# `fail` and `skip` do not return, so that `this && that || fail` is what it looks like (SC2015).
#
# A test ends with 0 (passed), 4 (skipped: `skip WHY`) or 1 (failed: `fail WHY`). At its end, in any
# case, `common_end` restores the machine and scans the kernel's log.

# shellcheck disable=SC1090 # it is where the VM runner says
. "$ANEMONE_LIB"

SCRATCH=$(mktemp -d)
DEBUG_KERNEL=$([ "$ANEMONE_KERNEL" = debug ] && echo yes)
# The failure itself should be the last message.
trap 'common_end $?' EXIT
trap 'exit 143' TERM INT

# The factor by which loads are smaller on the debug kernel, on which a request costs twenty times as much. Rounded
# up: fio takes a size of 0 for the whole device.
scaled() { if [ "$DEBUG_KERNEL" ]; then echo $((($1 + ${2:-10} - 1) / ${2:-10})); else echo "$1"; fi; }

common_end() {
    common_status=$1
    trap - EXIT
    common_restore || common_status=1
    if [ "$common_status" -ne 0 ] && [ "$common_status" -ne 4 ]; then
        # Where the memory was, if it was used up.
        dmesg | sed -n '/invoked oom-killer/,/Killed process/p' | sed 's/^/kernel: /' >&2
        dmesg | tail -n 60 | sed 's/^/kernel: /' >&2
    elif ! kernel_log_clean; then
        common_status=1
    fi
    exit "$common_status"
}

# In a trap, `return` alone returns the status from before the trap.
common_restore() {
    # First, because what follows may fail.
    for common_fault in /sys/kernel/debug/fail*/probability; do
        [ ! -e "$common_fault" ] || echo 0 >"$common_fault"
    done
    # shellcheck disable=SC2046 # a list of processes
    set -- $(jobs -p)
    [ $# -eq 0 ] || kill -KILL "$@" 2>/dev/null
    tc qdisc del dev eth0 root 2>/dev/null
    for common_server in $(server_numbers); do
        netem_off "$common_server" 2>/dev/null
    done
    for common_server in $DISTURBED; do
        host resume "$common_server" 2>/dev/null
        host link "$common_server" up 2>/dev/null
        host start "$common_server" 2>/dev/null
    done
    DISTURBED=
    # I/O that a disk delays would delay the module.
    dmsetup resume testdisk 2>/dev/null
    for common_cgroup in /sys/fs/cgroup/test*; do
        [ -d "$common_cgroup" ] || continue
        echo 1 >"$common_cgroup/cgroup.kill"
        wait_for 10 "an empty cgroup" rmdir "$common_cgroup"
    done
    rm -rf "$SCRATCH"
    if [ -d /sys/module/anemone ]; then
        grep -q "^$ANEMONE_DEVICE " /proc/swaps && swapoff "$ANEMONE_DEVICE"
        anemone_unload || wait_for 20 "rmmod of what a failed test left" anemone_unload || return 1
    fi
    if dmsetup info testdisk >/dev/null 2>&1; then
        wait_for 20 "the end of the test's disk" dmsetup remove testdisk || return 1
    fi
    rm -f /dev/mapper/testdisk
    [ "$SINGLE" ] || return 0
    ip link show eth0 >/dev/null 2>&1 || make_interface || return 1
    ip link set eth0 up && [ "$(cat /sys/class/net/eth0/mtu)" = 1500 ] || set_mtu 1500
}

# server_numbers: 1 2 3, up to the number of servers.
server_numbers() { echo "$ANEMONE_SERVERS" | tr , '\n' | grep -n . | cut -d: -f1; }
# servers FIRST [LAST]: their MAC addresses, separated by commas.
servers() { echo "$ANEMONE_SERVERS" | cut -d, -f"$1-${2:-$1}"; }

# disturb VERB N ...: like `host`, but undone when the test ends.
DISTURBED=
disturb() {
    DISTURBED="$DISTURBED $2"
    [ "$1" != link ] || DISTURBED="$DISTURBED $2"
    host "$@"
}

# Whether the servers are network namespaces of this machine.
SINGLE=$([ -e /run/netns/server1 ] && echo yes)
needs_single() { [ "$SINGLE" ] || skip "needs the servers in network namespaces: --single"; }
needs_machines() { [ -z "$SINGLE" ] || skip "needs servers that are machines: not --single"; }

# netem N OPTION...: netem disturbs what server N sends from now on; N = 0 is the client.
netem() {
    common_number=$1
    shift
    # shellcheck disable=SC2046 # a command
    $(in_server "$common_number") tc qdisc replace dev eth0 root netem limit 10000 "$@"
}
netem_off() { $(in_server "$1") tc qdisc del dev eth0 root; }
in_server() { [ "$1" = 0 ] || echo "ip netns exec server$1"; }
# netem_count N FIELD: dropped, overlimits or requeues of that netem; sent for packets.
netem_dropped() { $(in_server "$1") tc -s qdisc show dev eth0 | sed -n 's/.*dropped \([0-9]*\).*/\1/p' | head -n 1; }
netem_sent() { $(in_server "$1") tc -s qdisc show dev eth0 | sed -n 's/.* \([0-9]*\) pkt .*/\1/p' | head -n 1; }

# within MIB COMMAND [ARG...]: runs it with this much memory. The limit is memory.high: above memory.max the
# kernel kills when 17 attempts in a row have freed nothing, which happens on fast swap (025).
within() (
    common_group=/sys/fs/cgroup/test
    mkdir -p $common_group && echo "$1M" >$common_group/memory.high || fail "no cgroup"
    shift
    # shellcheck disable=SC2016 # for the shell that becomes the command
    exec sh -c 'echo $$ >"$0/cgroup.procs" && exec "$@"' $common_group "$@"
)

# expect_more WHAT BEFORE AFTER
expect_more() { [ "$3" -gt "$2" ] || fail "$1 did not rise: $2, then $3"; }

# wait_moving SECONDS DESCRIPTION VALUE COMMAND...: waits until COMMAND succeeds, however long that takes, as
# long as the output of VALUE changes within SECONDS. The test's own time limit ends a wait without an end.
wait_moving() {
    moving_idle=$1 moving_what=$2 moving_value=$3
    shift 3
    moving_last='' moving_end=0
    until "$@"; do
        moving_now=$($moving_value)
        if [ "$moving_now" != "$moving_last" ]; then
            moving_last=$moving_now moving_end=$(($(anemone_seconds) + moving_idle))
        elif [ "$(anemone_seconds)" -ge "$moving_end" ]; then
            say "nothing has changed for $moving_idle s ($moving_now), and there was still not: $moving_what"
            return 1
        fi
        sleep 0.05
    done
}

# errno_text NAME: the text that insmod prints for an error. kmod has its own texts for some.
errno_text() {
    case $1 in
    ENOKEY) echo 'required key not available' ;;
    EINVAL) echo 'invalid \(argument\|parameters\)' ;;
    ENOENT) echo 'unknown symbol\|no such file' ;;
    ENXIO) echo 'no such device or address' ;;
    ENODEV) echo 'no such device' ;;
    ENOTBLK) echo 'block device required' ;;
    EBUSY) echo 'busy' ;;
    EROFS) echo 'read-only file system' ;;
    ENOMEM) echo 'cannot allocate memory\|out of memory' ;;
    ENOSPC) echo 'no space left' ;;
    EHOSTUNREACH) echo 'no route to host\|host is unreachable' ;;
    *) echo "no text for $1" ;;
    esac
}

# refused ERRNO TEXT PARAMETER=VALUE...: loading fails with that error, one kernel message contains
# TEXT, and nothing is left.
refused() {
    refused_error=$(errno_text "$1") refused_text=$2
    shift 2
    dmesg -c >/dev/null
    if insmod "$ANEMONE_MODULE" "$@" 2>"$SCRATCH/refused"; then
        fail "$* was accepted"
    fi
    grep -qi "$refused_error" "$SCRATCH/refused" || fail "$*: $(cat "$SCRATCH/refused"), not $refused_error"
    refused_lines=$(dmesg | grep -vc -e 'loading out-of-tree' -e 'module verification')
    dmesg | grep -q "anemone: .*$refused_text" || fail "$*: no message '$refused_text': $(dmesg)"
    [ "$refused_lines" -eq 1 ] || fail "$*: $refused_lines kernel messages: $(dmesg)"
    nothing_left || fail "$*: something is left"
    say "ok: $(dmesg | grep 'anemone: ' | tail -n 1)"
}

# nothing_left: the module and all that it created are gone.
nothing_left() {
    for common_left in /sys/module/anemone /sys/kernel/debug/anemone /sys/block/anemone /dev/anemone /dev/anemone-control; do
        [ ! -e "$common_left" ] || { say "$common_left is left"; return 1; }
    done
    ! grep -q -e anemone /proc/modules /proc/devices || { say "/proc/modules or /proc/devices names it"; return 1; }
}

# health N: the state of server N in the module's view (up, suspected, ...).
health() {
    common_mac=$(servers "$1")
    sed -n "s/.* mac $common_mac health \([a-z]*\) .*/\1/p" "$ANEMONE_DEBUG/servers" | tail -n 1
}
is_healthy() { [ "$(health "$1")" = up ]; }
# server_field N FIELD: a number of that server's line.
server_field() { sed -n "s/.* mac $(servers "$1") .* $2 \([0-9]*\).*/\1/p" "$ANEMONE_DEBUG/servers" | tail -n 1; }

# nothing_failed: no request has ended in an I/O error since the module was loaded.
nothing_failed() {
    [ "$(counter pages_in_failed)" = 0 ] && [ "$(counter pages_out_failed)" = 0 ] ||
        { cat "$ANEMONE_DEBUG/counters" "$ANEMONE_DEBUG/servers" "$ANEMONE_DEBUG/disk" >&2; return 1; }
}

# fio_job OPTION...: a job on the device. Its report goes to $SCRATCH/fio, which is printed on failure.
fio_job() {
    fio --name=job --filename="$ANEMONE_DEVICE" --direct=1 --randrepeat=1 --output="$SCRATCH/fio" "$@" >"$SCRATCH/fio.err" 2>&1 || {
        cat "$SCRATCH/fio" "$SCRATCH/fio.err" >&2
        return 1
    }
}

# fio_verify OPTION...: writes, and reads back with fio's own checksums and block numbers.
fio_verify() { fio_job --verify=crc32c --verify_fatal=1 --do_verify=1 --serialize_overlap=1 "$@"; }

# sum_of_device MIB: the checksum of the device's first MIB MiB, past the cache; fails if they cannot be read.
sum_of_device() {
    dd if="$ANEMONE_DEVICE" of="$SCRATCH/device" bs=256k count=$(($1 * 4)) iflag=direct 2>/dev/null || return
    sha256sum <"$SCRATCH/device" && rm "$SCRATCH/device"
}

# load_begin [OPTION...]: starts a program that reads, writes and verifies the device until load_end.
load_begin() {
    : >"$SCRATCH/load"
    anemone-test direct --while "$SCRATCH/load" "$@" >"$SCRATCH/load.out" 2>&1 &
    LOAD=$!
}
load_runs() { kill -0 "$LOAD" 2>/dev/null; }
# moved: the number of pages paged out and in, to see whether there is progress.
moved() { echo "$(counter pages_out)/$(counter pages_in)"; }
# load_progress N [SECONDS]: waits until N more pages have been written and read. It fails when there was no
# progress for SECONDS. The rate depends on the machine's other load.
load_progress() {
    common_out=$(($(counter pages_out) + $1)) common_in=$(($(counter pages_in) + $1))
    common_from=$(anemone_seconds)
    wait_moving "${2:-60}" "$1 more pages written and read" moved load_has_come "$common_out" "$common_in" ||
        { cat "$SCRATCH/load.out" "$ANEMONE_DEBUG/counters" "$ANEMONE_DEBUG/servers" >&2; return 1; }
    say "$1 more pages written and read after $(($(anemone_seconds) - common_from)) s"
}
load_has_come() {
    load_runs || return 0
    [ "$(counter pages_out)" -ge "$1" ] && [ "$(counter pages_in)" -ge "$2" ]
}
# stuck: requests wait, and no page has been written or read in twenty checks, for each of which this machine
# has run the test.
stuck() {
    common_moved=$(moved) common_looks=20
    while [ "$common_looks" -gt 0 ] && ! idle && [ "$(moved)" = "$common_moved" ]; do
        sleep 0.05
        common_looks=$((common_looks - 1))
    done
    [ "$common_looks" = 0 ]
}
# is_stalled: no server answers the module, and there is no progress.
is_stalled() { ! grep -q ' health up ' "$ANEMONE_DEBUG/servers" && stuck; }
# load_end: fails if a read was wrong or failed.
load_end() {
    rm -f "$SCRATCH/load"
    if wait "$LOAD"; then
        cat "$SCRATCH/load.out" >&2
    else
        cat "$SCRATCH/load.out" "$ANEMONE_DEBUG/counters" "$ANEMONE_DEBUG/servers" >&2
        return 1
    fi
}

# make_interface: creates the interface again after `ip link del eth0`.
make_interface() {
    ip link add eth0 address 52:54:00:a0:00:00 type veth peer name client netns switch &&
        ip -n switch link set client mtu 1500 master br0 up && ip link set eth0 mtu 1500 up
}

# set_mtu N: sets the MTU of everything on the segment.
set_mtu() {
    ip link set eth0 mtu "$1" || return 1
    for common_server in $(server_numbers); do
        ip -n "server$common_server" link set eth0 mtu "$1" || return 1
        ip -n switch link set "s$common_server" mtu "$1" || return 1
    done
    ip -n switch link set client mtu "$1" && ip -n switch link set br0 mtu "$1"
}

idle() { [ "$(counter in_flight)" -eq 0 ]; }
