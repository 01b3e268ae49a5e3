#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# what: a server on a port of a bridge, bond or team is refused with the upper interface's name, and a port that becomes one later is detected; a server on an interface that passes nothing up (ifb, ipvlan, macvtap where there is one) is refused
# machine: server
# bound: 120
# debug: no, it tests the server program without the module
# shellcheck source-path=SCRIPTDIR source=common.sh source=own_server.sh disable=SC2015
. "$(dirname "$0")/common.sh"
. "$(dirname "$0")/own_server.sh"

needs_single
requires anemone-test
own_interface
up0_away() { ip link del up0 2>/dev/null; ip link set mem0 down && ip link set mem0 up; }
# make KIND [OPTION...]: creates up0 of that kind, if the kernel supports it; a module may have to be loaded.
make() {
    modprobe "$1" 2>/dev/null
    [ "$1" != bond ] || modprobe bonding max_bonds=0 2>/dev/null
    ip link add up0 type "$@" 2>/dev/null || { say "this kernel has no $1"; return 1; }
}
enslave() { ip link set mem0 down && ip link set mem0 master up0 && ip link set mem0 up || fail "mem0 cannot become a port"; }

# refused_at WHAT: the server does not serve on mem0, and logs why and where to serve.
refused_at() {
    own_server exec --capacity 8M && fail "it serves on $1"
    [ "$OWN_STATUS" = 3 ] || fail "on $1 it ended with $OWN_STATUS"
    own_server_says "ERROR.*'mem0' is $1, which takes its frames: serve on 'up0' (--interface up0)" || fail "$(cat "$OWN_LOG")"
    say "ok: $(cat "$OWN_LOG")"
}
# noticed_as WHAT COMMAND...: a server on mem0 warns when COMMAND has made it that, and logs when it no longer is.
noticed_as() {
    noticed_what=$1
    shift
    own_server exec --capacity 8M || fail "it does not serve beside up0"
    "$@"
    wait_for 20 "a warning" own_server_says "WARN.*the interface is now $noticed_what.*--interface up0" || fail "$(cat "$OWN_LOG")"
    ip link del up0
    wait_for 20 "an end of it" own_server_says "INFO.*no longer $noticed_what" || fail "$(cat "$OWN_LOG")"
    own_server_end || fail "it ended with $OWN_STATUS"
    up0_away
}

kinds=
for kind in bridge bond team; do
    make $kind || continue
    kinds="$kinds $kind"
    enslave
    refused_at "a port of the $kind 'up0'"
    up0_away
    make $kind
    noticed_as "a port of the $kind 'up0'" enslave
done
case $kinds in *bridge*bond*) ;; *) fail "only tried:$kinds" ;; esac

# A switch of Open vSwitch, which has a netlink interface of its own.
if modprobe openvswitch 2>/dev/null || [ -d /sys/module/openvswitch ]; then
    anemone-test switch up0 mem0 || fail "no switch"
    own_server exec --capacity 8M && fail "it serves on a port of Open vSwitch"
    own_server_says "ERROR.*'mem0' is a port of Open vSwitch ('up0'), .*: serve on an internal port of the switch" || fail "$(cat "$OWN_LOG")"
    anemone-test switch up0 || fail "the switch is held"
    own_server exec --capacity 8M || fail "it does not serve after the switch"
    anemone-test switch up0 mem0 || fail "no switch"
    wait_for 20 "a warning" own_server_says "WARN.*the interface is now a port of Open vSwitch" || fail "$(cat "$OWN_LOG")"
    anemone-test switch up0 || fail "the switch is held"
    wait_for 20 "an end of it" own_server_says "INFO.*no longer a port of Open vSwitch" || fail "$(cat "$OWN_LOG")"
    own_server_end || fail "it ended with $OWN_STATUS"
fi

ip link add up0 link mem0 type macvlan mode passthru || fail "no macvlan"
refused_at "below the macvlan 'up0' in passthru mode"
up0_away
noticed_as "below the macvlan 'up0' in passthru mode" ip link add up0 link mem0 type macvlan mode passthru

# refused_on KIND NAME OPTION...: on an interface that passes nothing up, created by `ip link add`, the server does not serve,
# and logs what it is.
refused_on() {
    bad_kind=$1
    OWN_INTERFACE=$2
    shift
    ip link add "$@" type "$bad_kind" 2>/dev/null || { say "this kernel has no $bad_kind"; return 1; }
    ip link set "$OWN_INTERFACE" up
    own_server exec --capacity 8M && fail "it serves on a $bad_kind"
    [ "$OWN_STATUS" = 3 ] || fail "on a $bad_kind it ended with $OWN_STATUS"
    own_server_says "ERROR.*'$OWN_INTERFACE' is an* $bad_kind, .*: serve on " || fail "$(cat "$OWN_LOG")"
    say "ok: $(cat "$OWN_LOG")"
    ip link del "$OWN_INTERFACE"
}
refused_on ifb link0 || fail "no ifb"
refused_on macvtap link0 link mem0
refused_on ipvlan link0 link mem0 || fail "no ipvlan"
OWN_INTERFACE=mem0

# Interfaces that take no frames from it: the server serves, and does not warn.
ip link add up0 link mem0 type macvlan mode bridge && ip link add vlan0 link mem0 type vlan id 7 || fail "no macvlan, no vlan"
own_server exec --capacity 8M || fail "it does not serve below a macvlan and a VLAN"
ip link set mem0 mtu 1400 || fail "mtu"
wait_for 20 "a check of the interface" own_server_says "new MTU" || fail "$(cat "$OWN_LOG")"
! own_server_says "is now" || fail "$(cat "$OWN_LOG")"
own_server_end || fail "it ended with $OWN_STATUS"
# The upper interface itself is suitable.
# shellcheck disable=SC2034 # for own_server
OWN_INTERFACE=up0
ip link set up0 up
own_server exec --capacity 8M || fail "it does not serve on the upper interface"
own_server_end || fail "it ended with $OWN_STATUS"
ip link del mem0
