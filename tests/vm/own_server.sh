# shellcheck shell=sh disable=SC2015
# SPDX-License-Identifier: GPL-2.0
# A memory server of a test's own, in the client's network namespace. Sourced after common.sh.

OWN_LOG=$SCRATCH/own_server
OWN_STATUS=
export NO_COLOR=1

# own_interface: a pair of interfaces, mem0 and mem1, on which it can serve.
own_interface() {
    [ -n "$ANEMONE_SERVER" ] || skip "there is no server program"
    ip link del mem0 2>/dev/null
    ip link add mem0 type veth peer name mem1 && ip link set mem0 up && ip link set mem1 up || fail "no interfaces"
}

# own_server WRAPPER [OPTION...]: starts a server and waits until it is ready. WRAPPER is `exec`, or a
# function that becomes the command in its arguments. It fails if the server ends instead: then OWN_STATUS
# is the server's exit status.
own_server() {
    own_wrapper=$1
    shift
    "$own_wrapper" "$ANEMONE_SERVER" --interface "${OWN_INTERFACE:-mem0}" "$@" >"$OWN_LOG" 2>&1 &
    OWN_SERVER=$!
    wait_for 30 "an answer of the server" own_server_answers || { cat "$OWN_LOG" >&2; return 1; }
    grep -q ' ready ' "$OWN_LOG" && return
    wait "$OWN_SERVER"
    OWN_STATUS=$?
    return 1
}
own_server_answers() { grep -q -e ' ready ' "$OWN_LOG" || ! kill -0 "$OWN_SERVER" 2>/dev/null; }
# own_server_field NAME: a field of its line `ready`.
own_server_field() { sed -n "s/.* ready .*$1=\([0-9a-f]*\).*/\1/p" "$OWN_LOG"; }
own_server_says() { grep -q -e "$1" "$OWN_LOG"; }
# own_server_end: ends the server, which must end correctly.
own_server_end() {
    kill -TERM "$OWN_SERVER"
    wait "$OWN_SERVER"
    OWN_STATUS=$?
    [ "$OWN_STATUS" = 0 ] || { cat "$OWN_LOG" >&2; return 1; }
}
