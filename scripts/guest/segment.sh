# shellcheck shell=sh
# SPDX-License-Identifier: GPL-2.0
# The Ethernet segment of --single: client and servers in network namespaces of one VM.
# One server: a veth pair straight to it. More: a bridge in the namespace `switch`. With --icount macvlan replaces the
# bridge: it costs almost nothing, and a bridge would be half of the measured cost.
# Sourced by client.sh, as root, before the script runs.

segment_mac() { printf '52:54:00:a0:00:%02x' "$1"; }

segment_up() {
    count=${VM_SERVERS:-0}
    if [ "$count" -gt 1 ] && segment_is_measured; then
        ip netns add switch
        ip link add eth0 address "$(segment_mac 0)" type veth peer name uplink netns switch
        ip -n switch link set uplink mtu "$VM_MTU"
        ip -n switch link set uplink up
    elif [ "$count" -gt 1 ]; then
        ip netns add switch
        ip -n switch link add br0 type bridge stp_state 0 forward_delay 0 mcast_snooping 0
        ip link add eth0 address "$(segment_mac 0)" type veth peer name client netns switch
        segment_plug client
    fi
    number=1
    while [ "$number" -le "$count" ]; do
        ip netns add "server$number"
        if [ "$count" -gt 1 ] && segment_is_measured; then
            ip -n switch link add "s$number" link uplink address "$(segment_mac "$number")" \
                type macvlan mode bridge
            ip -n switch link set "s$number" netns "server$number" name eth0
        elif [ "$count" -gt 1 ]; then
            ip -n switch link add "s$number" type veth \
                peer name eth0 address "$(segment_mac "$number")" netns "server$number"
            segment_plug "s$number"
        else
            ip link add eth0 address "$(segment_mac 0)" type veth \
                peer name eth0 address "$(segment_mac 1)" netns server1
        fi
        ip -n "server$number" link set eth0 mtu "$VM_MTU"
        ip -n "server$number" link set lo up
        ip -n "server$number" addr add "10.181.0.$number/24" dev eth0
        ip -n "server$number" link set eth0 up
        number=$((number + 1))
    done
    if [ "$count" -gt 1 ] && ! segment_is_measured; then
        ip -n switch link set br0 mtu "$VM_MTU"
        ip -n switch link set br0 up
    elif [ "$count" -eq 0 ]; then
        ip link add eth0 address "$(segment_mac 0)" type dummy
    fi
    ip link set eth0 mtu "$VM_MTU"
    ip link set eth0 up
}

segment_is_measured() { [ "${VM_ICOUNT:-0}" = 1 ]; }

segment_plug() {
    ip -n switch link set "$1" mtu "$VM_MTU"
    ip -n switch link set "$1" master br0
    ip -n switch link set "$1" up
}

# segment_server VERB N: prints `answer ok` or `answer error: ...` when it is done. Start and kill finish later, with
# `ready N` or `exited N STATUS` for the runner. They print nothing.
segment_server() {
    pid=$(cat "/run/server$2.pid" 2>/dev/null)
    case $1 in
    # The caller may read this output to its end. So the server must not keep it open.
    start) segment_serve "$2" >/dev/null & ;;
    kill) kill -KILL "$pid" || segment_refuse "$@" ;;
    pause) segment_try "$@" kill -STOP "$pid" ;;
    resume) segment_try "$@" kill -CONT "$pid" ;;
    link-down) segment_try "$@" segment_link "$2" down ;;
    link-up) segment_try "$@" segment_link "$2" up ;;
    *) segment_refuse "$@" ;;
    esac
}

segment_refuse() { echo "answer error: '$1' failed for server $2 in the guest"; }

segment_try() {
    verb=$1 number=$2
    shift 2
    if "$@"; then echo "answer ok"; else segment_refuse "$verb" "$number"; fi
}

segment_link() {
    if [ "${VM_SERVERS:-0}" -gt 1 ] && ! segment_is_measured; then
        ip -n switch link set "s$1" "$2"
    else
        ip -n "server$1" link set eth0 "$2"
    fi
}

# Runs server N to its end: its log goes to the console, its start and end to the runner.
segment_serve() {
    {
        sh /etc/anemone/server-process.sh "$1" 3>&- 4>&- </dev/null
        echo "anemone-vm-exited $?"
    } 2>&1 | while IFS= read -r line; do
        case $line in
        'anemone-vm-exited '*) echo "exited $1 ${line#anemone-vm-exited }" >&3 ;;
        ready* | *[!a-z]ready*) echo "server $1: $line" >/dev/console; echo "ready $1" >&3 ;;
        *) echo "server $1: $line" >/dev/console ;;
        esac
    done
}
