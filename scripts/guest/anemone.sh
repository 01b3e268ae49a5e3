# shellcheck shell=sh
# SPDX-License-Identifier: GPL-2.0
# Functions for scripts in a client VM: . "$ANEMONE_LIB"
# Plain POSIX sh, for busybox's shell, dash and bash. A function that fails prints why, and returns non-zero. To end
# the script then, write `anemone_load || fail "..."`, or use `set -e`.

ANEMONE_DEVICE=${ANEMONE_DEVICE:-/dev/anemone}
ANEMONE_DEBUG=${ANEMONE_DEBUG:-/sys/kernel/debug/anemone}

say() { printf '%s\n' "$*" >&2; }
# fail REASON: ends the script as failed.
fail() { say "failed: $*"; exit 1; }
# skip REASON: ends the script as not applicable here.
skip() { say "skipped: $*"; exit 4; }

# requires PROGRAM...: skips the script if one of them is missing.
requires() {
    for anemone_program in "$@"; do
        command -v "$anemone_program" >/dev/null 2>&1 || skip "there is no $anemone_program"
    done
}

# wait_for SECONDS DESCRIPTION COMMAND...: waits until COMMAND succeeds. The pause between two attempts is short
# compared with the waits. The time limit uses the machine's clock, and does not count pauses.
wait_for() {
    anemone_bound=$1 anemone_what=$2
    shift 2
    anemone_end=$(($(anemone_seconds) + anemone_bound))
    until "$@"; do
        if [ "$(anemone_seconds)" -ge "$anemone_end" ]; then
            say "after $anemone_bound s there was still not: $anemone_what"
            return 1
        fi
        sleep 0.05
    done
}

anemone_seconds() { cut -d. -f1 /proc/uptime; }

# anemone_load [PARAMETER=VALUE...]: loads the module on this segment. A parameter given here replaces the usual one.
anemone_load() {
    if [ -z "$ANEMONE_MODULE" ]; then
        say "there is no module in this VM (scripts/vm run --no-module, or it is not built)"
        return 1
    fi
    anemone_parameters="interface=$ANEMONE_INTERFACE"
    [ -z "$ANEMONE_SERVERS" ] || anemone_parameters="$anemone_parameters servers=$ANEMONE_SERVERS"
    for anemone_given in "$@"; do
        # The kernel uses the last one of two, but does not document that: omit the first one.
        anemone_kept=
        for anemone_usual in $anemone_parameters; do
            [ "${anemone_usual%%=*}" = "${anemone_given%%=*}" ] || anemone_kept="$anemone_kept $anemone_usual"
        done
        anemone_parameters=$anemone_kept
    done
    # shellcheck disable=SC2086 # words on purpose
    insmod "$ANEMONE_MODULE" $anemone_parameters "$@" || return
    wait_for 10 "$ANEMONE_DEVICE" test -b "$ANEMONE_DEVICE"
}

anemone_unload() { rmmod anemone; }

# anemone_swapon [OPTION...]: makes the device swap space and swaps on it.
anemone_swapon() {
    mkswap "$ANEMONE_DEVICE" >/dev/null && swapon "$@" "$ANEMONE_DEVICE"
}

# host COMMAND...: makes the host run it (kill N, start N, pause N, resume N, link N down|up), and waits until it is
# done.
host() {
    printf '%s\n' "$*" >"$ANEMONE_HOST"
    IFS= read -r anemone_answer <"$ANEMONE_HOST"
    [ "$anemone_answer" = ok ] && return 0
    say "host: $*: $anemone_answer"
    return 1
}

# counter NAME: one of the module's counters.
counter() { anemone_value "$1" "$ANEMONE_DEBUG/counters"; }

# vmstat_value NAME: one of the kernel's counters of virtual memory.
vmstat_value() { anemone_value "$1" /proc/vmstat; }

anemone_value() {
    while read -r anemone_name anemone_number _; do
        if [ "$anemone_name" = "$1" ]; then
            printf '%s\n' "$anemone_number"
            return 0
        fi
    done <"$2"
    # The shell's `read` may end in the middle of the file (seen once in pswpout of /proc/vmstat).
    anemone_number=$(sed -n "/^$1 /{s/^[^ ]* *\([^ ]*\).*/\1/p;q}" "$2")
    [ -z "$anemone_number" ] || { printf '%s\n' "$anemone_number"; return; }
    say "there is no '$1' in $2: $(cat "$2" 2>&1)"
    return 1
}

# kernel_memory_clean: there is no leaked allocation. Only the debug kernel detects leaks. It takes seconds, so once a
# boot is enough, after the module has been unloaded.
kernel_memory_clean() {
    [ -w /sys/kernel/debug/kmemleak ] || return 0
    # Twice: the second scan finds a pointer that was only in a register during the first one.
    echo scan >/sys/kernel/debug/kmemleak
    echo scan >/sys/kernel/debug/kmemleak
    [ -s /sys/kernel/debug/kmemleak ] || return 0
    say "the kernel lost memory:"
    cat /sys/kernel/debug/kmemleak >&2
    return 1
}

# kernel_log_clean: the kernel's log has no warning or error.
kernel_log_clean() {
    anemone_found=$(dmesg | grep -n -E -A 12 -e 'WARNING:|BUG:|Oops|KASAN:|KCSAN:|UBSAN:|INFO: lockdep|INFO: suspicious|INFO: trying to register|possible (circular|recursive|irq lock)|inconsistent lock state|hung task|blocked for more than|kmemleak: [0-9]+ new|kmemleak: .*(disabled|error)|general protection|refcount_t|rcu: INFO|scheduling while atomic|sleeping function called|soft lockup|hard lockup|Call Trace|rust_kernel: panicked|workqueue lockup|ODEBUG|list_(add|del) corruption|Kernel panic')
    [ -z "$anemone_found" ] && return 0
    say "the kernel's log is not clean:"
    say "$anemone_found"
    return 1
}
