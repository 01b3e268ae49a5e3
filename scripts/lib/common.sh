# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
# Functions for all scripts on the host: messages, the cache, logged steps with progress.
# Sourced, never run. It knows nothing of kernels, VMs or tests.

set -Eeuo pipefail

# No script ends silently: an unexpected failure of a command is reported with its line, also in a subshell. The last
# line says how to see more.
failed_command() {
    local status=$1 line=$2 command=$3
    printf '%s\n' "anemone: error: ${0##*/}, line $line: \`$command\` failed with status $status" >&2
    [ "$BASH_SUBSHELL" -gt 0 ] ||
        printf '%s\n' "anemone: if nothing above says why, \`bash -x $0\` shows what led to it" >&2
    exit "$status"
}
trap 'failed_command "$?" "$LINENO" "$BASH_COMMAND"' ERR

export ANEMONE_TOP
ANEMONE_TOP=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
# The cache for everything that is expensive to make. It is outside the checkout and survives it. The path is absolute,
# because other programs use it in other directories.
ANEMONE_CACHE=$(realpath -m -- "${ANEMONE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/anemone}")
ANEMONE_LOGS=$ANEMONE_CACHE/log
# Each make call on a kernel tree must find cargo's programs, especially bindgen.
case ":$PATH:" in *":$HOME/.cargo/bin:"*) ;; *) PATH=$HOME/.cargo/bin:$PATH ;; esac
export PATH ANEMONE_CACHE

say() { printf '%s\n' "anemone: $*" >&2; }
die() { printf '%s\n' "anemone: error: $*" >&2; exit 1; }

# stop_step SIGNAL WHAT GROUP: ends a step with all its processes, and the script as the signal would have. Processes
# that do not end within five seconds are killed.
stop_step() {
    local tick number
    number=$(kill -l "$1")
    trap '' HUP INT PIPE TERM
    kill -TERM -- "-$3" 2>/dev/null || true
    for tick in {1..60}; do
        kill -0 -- "-$3" 2>/dev/null || break
        [ "$tick" -ne 50 ] || kill -KILL -- "-$3" 2>/dev/null || true
        read -r -t 0.1 <> <(:) || true
    done
    wait "$3" 2>/dev/null || true
    say "$2: stopped by SIG$1; to continue it, run the same command again" || true
    exit $((128 + number))
}

# run_step NAME WHAT COMMAND...: runs COMMAND with its output in a log, and shows the time and the log's last line. If it
# fails, it names the step, and shows the end of the log and its path. COMMAND has its own process group and ends with the
# script: otherwise a build could continue and write beside the next one.
run_step() {
    local name=$1 what=$2 log pid status=0 start=$SECONDS tick=0 signal stopped=''
    shift 2
    mkdir -p "$ANEMONE_LOGS"
    log=$ANEMONE_LOGS/$name.log
    say "$what (log: $log)"
    for signal in HUP INT PIPE TERM; do
        # shellcheck disable=SC2064 # the signal's name now
        trap "stopped=$signal" "$signal"
    done
    # Job control provides a process group and default signals: without it a background command ignores SIGINT.
    set -m
    "$@" >"$log" 2>&1 </dev/null &
    pid=$!
    set +m
    # Waits for the process itself. The tick only updates the progress line.
    while kill -0 "$pid" 2>/dev/null; do
        read -r -t 1 <> <(:) || true
        [ -z "$stopped" ] || stop_step "$stopped" "$what" "$pid"
        tick=$((tick + 1))
        if [ -t 2 ]; then
            printf '\r\033[K  %4d s  %.100s' $((SECONDS - start)) "$(tail -n 1 "$log" | tr -d '\r')" >&2
        elif [ $((tick % 60)) -eq 0 ]; then
            printf '  %4d s  %.100s\n' $((SECONDS - start)) "$(tail -n 1 "$log" | tr -d '\r')" >&2
        fi
    done
    [ -t 2 ] && printf '\r\033[K' >&2
    wait "$pid" || status=$?
    [ -z "$stopped" ] || stop_step "$stopped" "$what" "$pid"
    trap - HUP INT PIPE TERM
    if [ "$status" -ne 0 ]; then
        printf '%s\n' "--- the last lines of $log" >&2
        tail -n 25 "$log" >&2
        die "$what: failed with status $status after $((SECONDS - start)) s; the whole log is $log"
    fi
    say "$what: done in $((SECONDS - start)) s"
}
