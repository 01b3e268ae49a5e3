#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0
# Tests of scripts/vm itself, without the module and the memory server: what scripts, its caller and the host can rely
# on. Also of what scripts on the host share: steps that fail or are interrupted, the kernels in the cache.
#
#   tests/runner/run.sh [NAME...]      all tests, or these; prints `ok NAME` or `FAIL NAME why`
set -uo pipefail

TOP=$(cd "$(dirname "$0")/../.." && pwd)
SCRATCH=$(mktemp -d)
trap 'rm -rf "$SCRATCH"' EXIT
mkdir "$SCRATCH/tmp"
export TMPDIR=$SCRATCH/tmp
export ANEMONE_CACHE=${ANEMONE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/anemone}
passed=0 failed=0 reason=

# vm ARG...: a run with neither module nor server program.
vm() { "$TOP/scripts/vm" run --no-module "$@"; }

# script NAME: a script for the client, from standard input.
script() { cat >"$SCRATCH/$1"; }

because() { reason=$*; return 1; }

expect_status() { [ "$2" -eq "$1" ] || because "exit status $2 instead of $1: $(tail -n 3 "$SCRATCH/err")"; }

expect_line() { grep -qxF -- "$1" "$SCRATCH/out" || because "no line '$1' in the output: $(tail -n 5 "$SCRATCH/out")"; }

# leftovers MARKER: new files in the two places where the runner could leave any.
leftovers() { find "$ANEMONE_CACHE/vm" "$TMPDIR" -mindepth 1 -newer "$1" ! -name '*.ext4' ! -name '*.lock' -printf '%p '; }

test_exit_status_and_arguments() {
    script status.sh <<'END'
[ "$#" -eq 3 ] && [ "$1" = one ] && [ "$2" = "two words" ] && [ "$3" = --three ] || exit 1
[ "$PWD" = /root ] && [ "$(id -u)" = 0 ] || exit 2
[ -z "$ANEMONE_MODULE$ANEMONE_SERVERS$ANEMONE_DISK" ] && [ "$ANEMONE_INTERFACE" = eth0 ] || exit 3
exit 37
END
    vm --servers 0 "$SCRATCH/status.sh" one "two words" --three >"$SCRATCH/out" 2>"$SCRATCH/err"
    expect_status 37 $?
}

# Every byte value, the mark's own alphabet, no newline at the end, and no kernel message in between.
test_output_is_exact() {
    head -c 3000000 /dev/urandom >"$SCRATCH/bytes"
    script cat.sh <<'END'
echo "a kernel message" >/dev/kmsg
echo to-stderr >/dev/stderr
exec cat bytes "given/name with space"
END
    mkdir -p "$SCRATCH/directory/below" "$SCRATCH/tree"
    printf 'no newline' >"$SCRATCH/directory/name with space"
    vm --servers 0 --file "$SCRATCH/bytes" --file "$SCRATCH/directory:given" "$SCRATCH/cat.sh" \
        >"$SCRATCH/out" 2>"$SCRATCH/err"
    expect_status 0 $? || return
    { echo to-stderr; cat "$SCRATCH/bytes"; printf 'no newline'; } | cmp -s - "$SCRATCH/out" ||
        because "the output is not what the script wrote ($(wc -c <"$SCRATCH/out") bytes)"
}

test_programs_come_with_their_libraries() {
    script programs.sh <<'END'
printf '3\n1\n2\n' | sort --parallel=2 | tr '\n' ' ' && sort --version | head -n 1
printf 'b\na\n' | /opt/bin/order
fio --version
for tool in ip tc; do readlink -f "$(command -v $tool)"; done
modprobe null_blk && test -b /dev/nullb0 && echo modprobe works
test "$(blockdev --getsize64 "$ANEMONE_DISK")" = 67108864 && dd if=/dev/zero of="$ANEMONE_DISK" bs=1M count=64 2>/dev/null && echo disk works
nproc
END
    vm --servers 0 --client-cpus 2 --disk 64 --file "$(command -v sort)" --file "$(command -v sort):/opt/bin/order" \
        "$SCRATCH/programs.sh" >"$SCRATCH/out" 2>"$SCRATCH/err"
    expect_status 0 $? || return
    grep -q '^1 2 3 sort (GNU coreutils)' "$SCRATCH/out" || because "GNU sort did not run: $(cat "$SCRATCH/out")" || return
    expect_line a && expect_line "modprobe works" && expect_line "disk works" && expect_line 2
}

test_a_script_that_does_not_end() {
    script hang.sh <<'END'
echo begun
sleep 1000
END
    vm --servers 0 --timeout 2 "$SCRATCH/hang.sh" >"$SCRATCH/out" 2>"$SCRATCH/err"
    expect_status 124 $? && expect_line begun
}

test_a_kernel_panic() {
    script panic.sh <<'END'
echo begun
echo c >/proc/sysrq-trigger
sleep 1000
END
    vm --servers 0 --timeout 60 "$SCRATCH/panic.sh" >"$SCRATCH/out" 2>"$SCRATCH/err"
    expect_status 126 $? && expect_line begun || return
    grep -q 'the kernel of client panicked' "$SCRATCH/err" || because "the panic is not named: $(tail -n 3 "$SCRATCH/err")"
}

test_a_machine_that_never_comes_up() {
    vm --servers 1 --boot-timeout 0.5 /dev/null >"$SCRATCH/out" 2>"$SCRATCH/err"
    [ $? -eq 2 ] || because "a script that is no file was taken" || return
    vm --servers 1 --boot-timeout 0.5 "$SCRATCH/hang.sh" >"$SCRATCH/out" 2>"$SCRATCH/err"
    expect_status 125 $? || return
    grep -q 'vm: note: the machines are started once more' "$SCRATCH/err" || because "it was not tried again" || return
    [ "$(grep -c 'vm: error: .* within 0.5 s' "$SCRATCH/err")" = 1 ] || because "not one error: $(cat "$SCRATCH/err")"
}

# interrupted SIGNAL STATUS: nothing is left, whichever signal ends the runner.
interrupted() {
    local name=hang-$1.sh runner status=0 before=$SCRATCH/before
    cp "$SCRATCH/hang.sh" "$SCRATCH/$name"
    touch "$before"
    mkfifo "$SCRATCH/fifo-$1"
    vm --servers 1 --log-dir "$SCRATCH/log-$1" "$SCRATCH/$name" >"$SCRATCH/fifo-$1" 2>"$SCRATCH/err" &
    runner=$!
    read -r _ <"$SCRATCH/fifo-$1"
    # The function ran in a subshell: its child is the runner.
    local real children
    real=$(pgrep -P "$runner" || echo "$runner")
    children=$(pgrep -P "$real" | tr '\n' ' ')
    [ "$(wc -w <<<"$children")" -eq 2 ] || because "not two QEMUs: $children" || return
    kill -"$1" "$real"
    wait "$runner" || status=$?
    [ "$status" -eq "$2" ] || because "exit status $status instead of $2" || return
    for _ in $(seq 50); do
        # shellcheck disable=SC2086 # a list
        kill -0 $children 2>/dev/null || break
        read -r -t 0.1 <> <(:) || true
    done
    for child in $children; do
        ! kill -0 "$child" 2>/dev/null || because "QEMU $child is still running" || return
    done
    local left
    left=$(leftovers "$before")
    [ -z "$left" ] || because "left behind: $left"
}

test_interrupt() { interrupted INT 130; }
test_kill() { interrupted KILL 137; }

write_segment_script() {
    script segment.sh <<'END'
. "$ANEMONE_LIB"
test "$ANEMONE_SERVERS" = 52:54:00:a0:00:01,52:54:00:a0:00:02 || fail "servers $ANEMONE_SERVERS"
ip addr add 10.181.0.100/24 dev "$ANEMONE_INTERFACE"
reach() { ping -c 1 -W 1 -s 8000 "10.181.0.$1" >/dev/null; }
not() { ! "$@"; }
for server in 1 2; do
    wait_for 10 "server $server answers" reach $server || fail reach
    mac=$(ip neigh show 10.181.0.$server | grep -o 52:54:00:a0:00:0$server) || fail "server $server is $mac"
done
test "$(cat /sys/class/net/eth0/mtu)" = 9000 || fail mtu
test "$(cat /sys/class/net/eth0/address)" = 52:54:00:a0:00:00 || fail mac
[ "$1" = machines ] && {
    host pause 1 && not reach 1 && reach 2 || fail pause
    host resume 1 && wait_for 10 resumed reach 1 || fail resume
}
[ "$1" = processes ] && { host pause 1 && host resume 1 || fail pause; }
host link 2 down && not reach 2 && reach 1 || fail "link down"
host link 2 up && wait_for 10 "link up" reach 2 || fail "link up"
host kill 1 || fail kill
[ "$1" = machines ] && reach 1 && fail "server 1 answers after its end"
host kill 1 2>/dev/null && fail "killed twice"
host start 1 && wait_for 10 "server 1 is back" reach 1 || fail start
echo nonsense >"$ANEMONE_HOST" && read -r answer <"$ANEMONE_HOST" && echo "$answer"
exec 5<>"$ANEMONE_HOST" && echo kill 3 >&5 && read -r answer <&5 && echo "$answer"
kernel_log_clean && echo all is well
END
}

segment() {
    write_segment_script
    vm --mtu 9000 "$@" >"$SCRATCH/out" 2>"$SCRATCH/err"
    expect_status 0 $? || because "$reason; $(tail -n 3 "$SCRATCH/out")" || return
    expect_line "all is well" && expect_line "error: there is no server 3; servers: 1 to 2"
}

test_segment_of_machines() { segment --server-mem 128 "$SCRATCH/segment.sh" machines; }
test_segment_of_namespaces() { segment --single --server-mem 64 "$SCRATCH/segment.sh" processes; }

# The shell library in all supported shells.
test_library() {
    script library.sh <<'END'
. "$ANEMONE_LIB"
for shell in "busybox sh" dash bash; do
    $shell -c '. "$ANEMONE_LIB"; test "$(vmstat_value pgfault)" -gt 0 && ! wait_for 1 never false && ! host bogus &&
        ! counter none && ! anemone_load && kernel_log_clean' 2>/dev/null || fail "$shell"
    $shell -c '. "$ANEMONE_LIB"; requires ip no-such-program' 2>/dev/null
    test $? -eq 4 || fail "$shell: requires does not skip"
done
echo "<4>BUG: of this test" >/dev/kmsg
kernel_log_clean 2>/dev/null && fail "a dirty log was found clean"
echo all is well
END
    vm --servers 0 "$SCRATCH/library.sh" >"$SCRATCH/out" 2>"$SCRATCH/err"
    expect_status 0 $? || because "$reason; $(tail -n 3 "$SCRATCH/out")" || return
    expect_line "all is well"
}

# The same work takes the same counted time, within a thousandth.
test_instruction_count() {
    script count.sh <<'END'
now() { sed 's/ .*//; s/\.//; s/^0*//' /proc/uptime; }
from=$(now)
i=0; while [ $i -lt 20000 ]; do i=$((i + 1)); done
echo $(($(now) - from))
END
    local first second
    first=$(vm --servers 1 --server-mem 64 --single --icount "$SCRATCH/count.sh" 2>"$SCRATCH/err") || because "$(tail -n 3 "$SCRATCH/err")" || return
    second=$(vm --servers 1 --server-mem 64 --single --icount "$SCRATCH/count.sh" 2>"$SCRATCH/err") || because "$(tail -n 3 "$SCRATCH/err")" || return
    local off=$((first - second))
    # /proc/uptime counts hundredths of a second: the difference may be one more or less.
    [ "${off#-}" -le $((first / 1000 + 1)) ] || because "$first and $second hundredths of a second"
}

# A plugin counts the guest's instructions exactly: a program of known length shows it, between two marks, with the
# second of two processors idle.
test_instructions_are_counted() {
    cat >"$SCRATCH/loop.s" <<'END'
        .globl _start
_start: mov $162, %eax
        syscall
        mov $100000, %ebx
1:      dec %ebx
        jnz 1b
        mov $162, %eax
        syscall
        mov $1100000, %ebx
2:      dec %ebx
        jnz 2b
        mov $162, %eax
        syscall
        mov $231, %eax
        xor %edi, %edi
        syscall
END
    # At an address that no other program has: other programs between the marks are counted as well.
    gcc -static -nostdlib -Wl,-Ttext-segment=0x5a000000 -o "$SCRATCH/loop" "$SCRATCH/loop.s" || because "the program of known length cannot be built" || return
    local option
    option=$(PYTHONPATH=$TOP/scripts python3 -B -c '
import sys
from profilelib import plugin, symbols
from vmlib import products
print(plugin.option(plugin.build(sys.argv[1]), sys.argv[1] + "/counts", symbols.mark_address(products.kernel_tree("release"))))' \
        "$SCRATCH" 2>"$SCRATCH/err") || because "$(tail -n 3 "$SCRATCH/err")" || return
    vm --servers 0 --single --icount --client-cpus 2 --plugin "$option" "$SCRATCH/loop" >"$SCRATCH/out" 2>"$SCRATCH/err"
    expect_status 0 $? || return
    # of_loop FILE: instructions of the program, mov and syscall of the mark included.
    of_loop() { awk 'length($2) == 8 && $2 ~ /^5a00/ { sum += $3 } END { print sum + 0 }' "$1"; }
    local counted
    counted="$(of_loop "$SCRATCH/counts.1") $(of_loop "$SCRATCH/counts.2")"
    [ "$counted" = "200003 2200003" ] || because "$counted instructions, not 200003 and 2200003"
}

# The demo's disk returns what was written to it, and takes a real disk's time, by a clock for which waiting is free:
# 4.2 ms of rotation and a short seek for any page, the same in each run.
test_disk() {
    script disk.sh <<'END'
. "$ANEMONE_LIB"
modprobe nbd nbds_max=1
/root/anemone-disk --device /dev/nbd0 --mib 64 --cache-mib 8 >/run/disk &
disk=$!
there() { [ -e /sys/block/nbd0/pid ] && [ "$(cat /sys/block/nbd0/size)" -gt 0 ]; }
wait_for 30 "the disk" there || fail "no disk: $(cat /run/disk)"
[ "$(cat /sys/block/nbd0/queue/rotational)" = 1 ] || fail "it does not turn"
fio --name=verify --filename=/dev/nbd0 --direct=1 --ioengine=io_uring --iodepth=8 --rw=randwrite --bsrange=4k-64k \
    --size=64m --verify=crc32c --randseed=5 --output=/run/fio || fail "$(cat /run/fio)"
mean=$(fio --name=reads --filename=/dev/nbd0 --direct=1 --ioengine=psync --rw=randread --bs=4k --size=64m --number_ios=500 \
    --randseed=5 --output-format=json | awk '/"clat_ns"/ { inside = 1 } inside && /"mean"/ { gsub(/,/, ""); print int($3 / 1000); exit }')
kill "$disk" && wait "$disk" || fail "it ended badly"
[ "$mean" -ge 3600 ] && [ "$mean" -le 4800 ] || fail "a page takes $mean us: $(cat /run/disk)"
kernel_log_clean && echo "$mean"
END
    local first second
    first=$(vm --servers 0 --single --icount --file "$TOP/build/anemone-disk" "$SCRATCH/disk.sh" 2>"$SCRATCH/err") ||
        because "$first; $(tail -n 3 "$SCRATCH/err")" || return
    second=$(vm --servers 0 --single --icount --file "$TOP/build/anemone-disk" "$SCRATCH/disk.sh" 2>"$SCRATCH/err") ||
        because "$second; $(tail -n 3 "$SCRATCH/err")" || return
    local off=$((first - second))
    # The platter's position when fio begins to read is random.
    [ "${off#-}" -le $((first / 20)) ] || because "$first and $second us"
}

# step COMMAND...: runs a script with steps in it, from standard input.
step() { { echo ". '$TOP/scripts/lib/common.sh'"; cat; } >"$SCRATCH/step.sh"; ANEMONE_CACHE=$SCRATCH/cache exec "$@" "$SCRATCH/step.sh"; }

# runs PID: the process runs, and is not a zombie that waits for a slow init.
runs() { grep -qs '^State:[[:space:]]*[^ZX[:space:]]' "/proc/$1/status"; }

# Whatever ends a script, its step ends with it, with all processes, even those that ignore signals.
test_an_interrupted_step() {
    local signal status stepping pids
    for signal in INT:130 TERM:143 HUP:129; do
        rm -f "$SCRATCH/pids" && mkfifo "$SCRATCH/pids"
        # A background command of a shell ignores SIGINT, and one under nohup SIGHUP. bash cannot change that.
        step env --default-signal=HUP,INT,TERM PIDS="$SCRATCH/pids" bash >"$SCRATCH/out" 2>&1 <<'END' &
build() { (trap '' INT TERM HUP; sleep 60; sleep 60) & sleep 60 & echo "$BASHPID $(jobs -p | tr '\n' ' ')" >"$PIDS"; wait; }
run_step build "a long step" build
END
        stepping=$!
        read -r -t 20 pids <"$SCRATCH/pids" || because "the step does not begin: $(cat "$SCRATCH/out")" || return
        kill -"${signal%:*}" "$stepping"
        status=0
        wait "$stepping" || status=$?
        [ "$status" = "${signal#*:}" ] || because "SIG${signal%:*}: exit status $status: $(cat "$SCRATCH/out")" || return
        for pid in $pids; do
            # shellcheck disable=SC2086 # a list
            ! runs "$pid" || { kill -KILL $pids; because "SIG${signal%:*}: process $pid of $pids is still running"; } || return
        done
        grep -q "a long step: stopped by SIG${signal%:*}; .* run the same command again" "$SCRATCH/out" ||
            because "SIG${signal%:*}: not said: $(cat "$SCRATCH/out")" || return
    done
}

# A step that fails is reported with the end of its output, and so is an unexpected failure of a command.
test_a_failing_step() {
    local status=0 body
    (step bash) >"$SCRATCH/out" 2>&1 <<'END' || status=$?
build() { echo "the last word of it"; exit 7; }
run_step build "a short step" build
echo "not stopped"
END
    { [ "$status" = 1 ] && ! grep -q 'not stopped' "$SCRATCH/out"; } || because "status $status: $(cat "$SCRATCH/out")" || return
    { grep -q 'error: a short step: failed with status 7 .* the whole log is .*/build.log' "$SCRATCH/out" &&
        grep -qx 'the last word of it' "$SCRATCH/out"; } || because "not said: $(cat "$SCRATCH/out")" || return
    # shellcheck disable=SC2016 # the script's own
    for body in 'false' 'told() { false; echo told; }; value=$(told)'; do
        status=0
        (step bash) >"$SCRATCH/out" 2>&1 <<<"$body; echo not stopped" || status=$?
        { [ "$status" = 1 ] && ! grep -q 'not stopped' "$SCRATCH/out"; } || because "status $status: $(cat "$SCRATCH/out")" || return
        # shellcheck disable=SC2016 # what is printed has backquotes
        { grep -q 'error: step.sh, line 2: `.*` failed with status 1' "$SCRATCH/out" &&
            grep -q 'if nothing above says why, `bash -x .*/step.sh`' "$SCRATCH/out"; } || because "not said: $(cat "$SCRATCH/out")" || return
    done
}

# One run at a time builds a kernel. Another one reports that it waits.
test_one_kernel_build_at_a_time() {
    local cache=$SCRATCH/cache-lock waiting held
    mkdir -p "$cache"
    exec {held}>"$cache/kernel.lock"
    flock "$held"
    ANEMONE_CACHE=$cache "$TOP/scripts/kernel" source >"$SCRATCH/out" 2>&1 {held}>&- &
    waiting=$!
    for _ in $(seq 100); do
        grep -q 'waiting until it has ended' "$SCRATCH/out" && break
        read -r -t 0.1 <> <(:) || true
    done
    kill "$waiting" 2>/dev/null || because "it does not wait: $(cat "$SCRATCH/out")" || return
    wait "$waiting"
    exec {held}>&-
    { grep -q 'another run is fetching or building a kernel in .*: waiting until it has ended' "$SCRATCH/out" &&
        ! grep -q 'fetching the kernel source' "$SCRATCH/out"; } || because "$(cat "$SCRATCH/out")"
}

# A checkout uses the kernel of its own configuration, whatever others have built in the same cache. If a compiler's
# version cannot be determined, no kernel is named after that.
test_kernels_in_a_cache() {
    local cache=$SCRATCH/cache-kernels ours=release-0123456789abcdef others=release-fedcba9876543210 fake=$SCRATCH/fake found
    mkdir -p "$cache/kernel/$ours" "$cache/kernel/$others" "$cache/src/linux-0" "$fake"
    kernel() { ANEMONE_CACHE=$cache "$TOP/scripts/kernel" "$@" 2>"$SCRATCH/err"; }
    cat "$TOP/scripts/config/base.config" "$TOP/scripts/config/release.config" >"$cache/kernel/$ours/anemone.config"
    { cat "$cache/kernel/$ours/anemone.config"; echo CONFIG_ANOTHER=y; } >"$cache/kernel/$others/anemone.config"
    touch -d yesterday "$cache/kernel/$ours/.anemone-built"
    touch "$cache/kernel/$others/.anemone-built"
    ln -s "$cache/kernel/$others" "$cache/kernel/release"
    found=$(kernel path release)
    [ "$found" = "$cache/kernel/$ours" ] || because "another configuration's kernel: $found" || return
    found=$(cd "$SCRATCH" && ANEMONE_CACHE=cache-kernels "$TOP/scripts/kernel" path release)
    [ "$found" = "$cache/kernel/$ours" ] || because "a relative cache is not made absolute: $found" || return
    rm "$cache/kernel/$ours/.anemone-built"
    ! found=$(kernel path release) || because "another configuration's kernel is taken for ours: $found" || return
    echo 0 >"$cache/src/linux-source.tar.xz.version"
    printf '#!/bin/sh\nexit 3\n' >"$fake/bindgen" && chmod +x "$fake/bindgen"
    ! PATH=$fake:$HOME/.cargo/bin:$PATH kernel build release || because "built without a bindgen" || return
    { grep -q 'bindgen --version' "$SCRATCH/err" && ! grep -q configuring "$SCRATCH/err"; } || because "not seen: $(cat "$SCRATCH/err")"
}

if [ $# -gt 0 ]; then
    names=("$@")
else
    mapfile -t names < <(declare -F | sed -n 's/^declare -f test_//p' |
        while read -r name; do printf '%s %s\n' "$(grep -n "^test_$name()" "$0" | cut -d: -f1)" "$name"; done | sort -n | cut -d' ' -f2)
fi
for name in "${names[@]}"; do
    reason=failed
    began=$SECONDS
    if "test_$name"; then
        passed=$((passed + 1))
        echo "ok $name ($((SECONDS - began)) s)"
    else
        failed=$((failed + 1))
        echo "FAIL $name $reason"
    fi
done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
