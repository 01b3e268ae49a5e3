# shellcheck shell=sh
# SPDX-License-Identifier: GPL-2.0
# What scripts in a client VM need: . "$ANEMONE_LIB"
# Plain POSIX sh, for busybox's shell, dash and bash. Each function prints why it fails, and returns
# non-zero; a script that wants to end there says `anemone_load || fail "..."`, or runs under `set -e`.

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

# wait_for SECONDS DESCRIPTION COMMAND...: until COMMAND succeeds. The pause is short beside any of
# the waits it serves; time is the machine's, not a count of pauses.
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

# anemone_load [PARAMETER=VALUE...]: loads the module on this segment; a parameter given here comes
# after, and so instead of, the usual one.
anemone_load() {
    if [ -z "$ANEMONE_MODULE" ]; then
        say "there is no module in this VM (scripts/vm run --no-module, or it is not built)"
        return 1
    fi
    anemone_parameters="interface=$ANEMONE_INTERFACE"
    [ -z "$ANEMONE_SERVERS" ] || anemone_parameters="$anemone_parameters servers=$ANEMONE_SERVERS"
    for anemone_given in "$@"; do
        # The kernel takes the last of two, but says so nowhere: leave the first one out.
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

# host COMMAND...: has the host do it (kill N, start N, pause N, resume N, link N down|up), and waits
# until it is done.
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
    say "there is no '$1' in $2: $(cat "$2" 2>&1)"
    return 1
}

# kernel_memory_clean: nothing allocated that nobody points to any more. Only the debug kernel can
# say; it takes seconds, so once a boot is enough, after the module is gone.
kernel_memory_clean() {
    [ -w /sys/kernel/debug/kmemleak ] || return 0
    # Twice: what was only in a register during the first scan is found by the second.
    echo scan >/sys/kernel/debug/kmemleak
    echo scan >/sys/kernel/debug/kmemleak
    [ -s /sys/kernel/debug/kmemleak ] || return 0
    say "the kernel lost memory:"
    cat /sys/kernel/debug/kmemleak >&2
    return 1
}

# kernel_log_clean: nothing in the kernel's log that a kernel developer would have to look at.
kernel_log_clean() {
    anemone_found=$(dmesg | grep -n -E -A 12 -e 'WARNING:|BUG:|Oops|KASAN:|KCSAN:|UBSAN:|INFO: lockdep|INFO: suspicious|INFO: trying to register|possible (circular|recursive|irq lock)|inconsistent lock state|hung task|blocked for more than|kmemleak: [0-9]+ new|kmemleak: .*(disabled|error)|general protection|refcount_t|rcu: INFO|scheduling while atomic|sleeping function called|soft lockup|hard lockup|Call Trace|rust_kernel: panicked|workqueue lockup|ODEBUG|list_(add|del) corruption|Kernel panic')
    [ -z "$anemone_found" ] && return 0
    say "the kernel's log is not clean:"
    say "$anemone_found"
    return 1
}
