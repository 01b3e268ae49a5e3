#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Runs in the client, for scripts/profile: several runs of fio for each job OPERATION:DEPTH. The first warms up, the
# second has SHORT operations, and RUNS runs have SHORT + COUNT, with a mark (sync) after each. The difference between
# a long and the short run is the cost of COUNT operations.
#
#   cost.sh COUNT RUNS DISK_MIB JOB... [-- PARAMETER...]
#
# With DISK_MIB other than 0 the local mirror is on, over a RAM disk. Of two processors, the first is
# the client's and the second the servers': frames change over by receive packet steering.
# Prints `job JOB` when one begins, `time JOB NANOSECONDS` (an operation of the last run) at its end, and then the
# addresses: `symbol ADDRESS TYPE NAME MODULE`; `code FROM TO OFFSET` and `vdso FROM TO` of the servers.
# shellcheck source=/dev/null # it exists in the guest only
. "$ANEMONE_LIB"

SIZE_MIB=32
SHORT=1000
CLIENT=1 SERVERS=2

count=$1 runs=$2 disk_mib=$3
shift 3
jobs=
while [ $# -gt 0 ] && [ "$1" != -- ]; do
    jobs="$jobs $1"
    shift
done
[ $# -eq 0 ] || shift

# Each program that begins would else stand elsewhere, and fill the plugin's table. The servers have begun.
echo 0 >/proc/sys/kernel/randomize_va_space

servers() { cat /run/server*.pid; }

# Gives each side its processor. The uplink of the switch receives for all servers; `ip netns exec`
# shows its namespace's devices in a /sys of its own.
divide() {
    echo "$CLIENT" >"/sys/class/net/$ANEMONE_INTERFACE/queues/rx-0/rps_cpus" || fail "no receive packet steering"
    ip netns exec switch sh -c "echo $SERVERS >/sys/class/net/uplink/queues/rx-0/rps_cpus" ||
        fail "the switch's uplink cannot be steered"
    for pid in $(servers); do
        for task in "/proc/$pid/task"/*; do
            taskset -p "$SERVERS" "${task##*/}" >/dev/null || fail "a server cannot be moved to its processor"
        done
    done
    echo "$CLIENT" >/sys/devices/virtual/workqueue/cpumask || fail "work queues cannot be moved"
    taskset -p "$CLIENT" $$ >/dev/null || fail "this script cannot be moved"
}

# run JOB REQUESTS: nanoseconds an operation, that is, 1 / IOPS.
run() {
    fio --name=cost --filename="$ANEMONE_DEVICE" --direct=1 --ioengine=io_uring --bs=4k --size="${SIZE_MIB}m" \
        --rw="${1%:*}" --iodepth="${1#*:}" --number_ios="$2" --randseed=7 --output-format=json >/run/cost.json ||
        fail "fio: $(cat /run/cost.json)"
    awk '
        /"(read|write|trim)" : [{]/ { inside = 1 }
        /"sync" : [{]/ { inside = 0 }
        inside && /"iops" :/ { gsub(/[",]/, ""); iops += $3 }
        END { if (!iops) exit 1; printf "%.0f\n", 1e9 / iops }' /run/cost.json || fail "fio did nothing"
}

# keyed PARAMETER...: with keys= among them, servers that have keys take the place of the usual ones.
keyed() {
    case " $* " in *" keys=anemone "*) ;; *) return ;; esac
    requires anemonectl
    (umask 077 && anemonectl keygen master /run/master) || fail "no key"
    number=0
    for mac in $(echo "$ANEMONE_SERVERS" | tr , ' '); do
        number=$((number + 1))
        host kill $number || fail "server $number cannot be ended"
        (umask 077 && anemonectl keygen server --master /run/master --name "server$number" --client client \
            >"/run/keys$number") || fail "no keys for server $number"
        anemonectl keygen pair --master /run/master --server "server$number" --client client |
            anemonectl keyring add "$mac" || fail "no key in the keyring"
        ip netns exec "server$number" "$ANEMONE_SERVER" --interface eth0 --capacity 80M --keys "/run/keys$number" \
            >"/run/log$number" 2>&1 &
        echo $! >"/run/server$number.pid"
        wait_for 30 "server $number" grep -q ' ready ' "/run/log$number" || fail "$(cat "/run/log$number")"
    done
}

requires fio taskset
keyed "$@"
[ "$(nproc)" -eq 1 ] || divide
if [ "$disk_mib" -gt 0 ]; then
    modprobe brd rd_nr=1 rd_size=$((disk_mib * 1024)) || fail "no RAM disk"
    dd if=/dev/zero of=/dev/ram0 bs=1M count="$disk_mib" oflag=direct 2>/dev/null
    set -- local_device=/dev/ram0 "$@"
fi
anemone_load size_mib="$SIZE_MIB" "$@" || fail "load"
echo "job filling"
dd if=/dev/urandom of="$ANEMONE_DEVICE" bs=64k count=$((SIZE_MIB * 16)) oflag=direct 2>/dev/null || fail "it cannot be filled"
up_to_date() { [ "$(counter out_of_sync_left)" = 0 ] && [ "$(counter repair_left)" = 0 ]; }
[ "$disk_mib" -eq 0 ] || wait_for 30 "nothing left to be copied" up_to_date || fail "copying continues"
# Two emulated processors run in turn, for as long as until the next timer: a server may not be let in
# while hundreds of pages are sent at once. What was lost in filling is in no figure.
lost=$(counter timeouts)
for job in $jobs; do
    echo "job $job"
    took=$(run "$job" "$SHORT") || exit 1
    sync
    took=$(run "$job" "$SHORT") || exit 1
    sync
    left=$runs
    while [ "$left" -gt 0 ]; do
        took=$(run "$job" $((SHORT + count))) || exit 1
        sync
        left=$((left - 1))
    done
    echo "time $job $took"
done
# A lost frame would be a figure of the timer's, not of the path's.
[ "$(counter timeouts)" -eq "$lost" ] || fail "frames were lost: $(($(counter timeouts) - lost)) timeouts"
[ "$(counter pages_out_degraded)" -eq 0 ] || fail "page-outs had fewer than two copies"
sed -n 's/^\([0-9a-f]*\) \([tTwW]\) \(\S*\)\s*\[\(.*\)\]$/symbol \1 \2 \3 \4/p' /proc/kallsyms
for pid in $(servers); do
    awk '$2 != "r-xp" { next }
        { split($1, range, "-") }
        /anemone-server/ { print "code", range[1], range[2], $3 }
        /vdso/ { print "vdso", range[1], range[2] }' "/proc/$pid/maps"
done
anemone_unload
kernel_log_clean
