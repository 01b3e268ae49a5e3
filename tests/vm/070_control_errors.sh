#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# what: wrong ioctls and commands are refused, each with its own error, and change nothing
# machine: segment
# bound: 120
# debug: yes
# shellcheck source-path=SCRIPTDIR source=common.sh disable=SC2015
. "$(dirname "$0")/common.sh"

requires anemone-test anemonectl
needs_single

# ctl STATUS TEXT ARGUMENT...: anemonectl ends with that status and prints that text.
ctl() {
    ctl_status=$1 ctl_text=$2
    shift 2
    anemonectl "$@" >"$SCRATCH/ctl" 2>&1
    ctl_got=$?
    [ "$ctl_got" = "$ctl_status" ] || fail "anemonectl $*: status $ctl_got, not $ctl_status: $(cat "$SCRATCH/ctl")"
    grep -q "$ctl_text" "$SCRATCH/ctl" || fail "anemonectl $*: no '$ctl_text' in: $(cat "$SCRATCH/ctl")"
}

ctl 3 "load the module first" status
ctl 2 "hardware address" add nonsense
ctl 2 "hardware address" remove ff:ff:ff:ff:ff:ff
ctl 2 "required" attach
ctl 0 "Exit status" --help

anemone_load size_mib=64 servers="$(servers 1 2)" || fail "load"
mac=$(servers 1) own=$(cat /sys/class/net/eth0/address)
dmesg -c >/dev/null
anemone-test control --server "$mac" --own "$own" || fail "root's wrong calls"
anemone-test control --server "$mac" --own "$own" --unprivileged || fail "an unprivileged caller's calls"
[ "$(stat -c %a/%U /dev/anemone-control)" = 600/root ] || fail "/dev/anemone-control is $(stat -c %a/%U /dev/anemone-control)"

ctl 1 "is a server of this device already" add "$mac"
ctl 1 "own address" add "$own"
ctl 1 "is not a server of this device" remove 52:54:00:a0:ff:ff
ctl 1 "no local disk" detach
ctl 1 "does not exist" attach /dev/nothing
ctl 1 "is not a block device" attach /dev/null
ctl 1 "is the Anemone device itself" attach /dev/anemone
ctl 3 "does not know this command" --device /dev/null status
ctl 3 "cannot open\|does not exist" --device /nothing status
ctl 5 "has not answered yet" add 52:54:00:a0:ff:01 --wait 0
ctl 0 "removed" remove 52:54:00:a0:ff:01
# All slots are in use: the message says so, and nothing is lost.
number=3
while [ "$number" -le 20 ]; do
    ctl 5 "not answered" add --wait 0 "$(printf "52:54:00:a0:fe:%02x" "$number")"
    number=$((number + 1))
done
ctl 1 "all 20 places" add 52:54:00:a0:fd:01
[ "$(anemonectl status --json | anemone-test json servers)" = 20 ] || fail "not 20 servers"
number=3
while [ "$number" -le 20 ]; do
    ctl 0 "removed" remove "$(printf '52:54:00:a0:fe:%02x' "$number")"
    number=$((number + 1))
done
[ "$(anemonectl status --json | anemone-test json servers)" = 2 ] || fail "not 2 servers: $(anemonectl status)"

# An open file keeps the module loaded.
exec 9</dev/anemone-control
rmmod anemone 2>"$SCRATCH/rmmod" && fail "the module was unloaded under an open file"
grep -qi "in use\|busy\|temporarily" "$SCRATCH/rmmod" || fail "rmmod: $(cat "$SCRATCH/rmmod")"
exec 9<&-
# Bad callers leave nothing in the log. It has only what was done, and why a disk cannot be attached.
dmesg | grep -v 'anemone: server 52:54:00:a0:f[def]:..: \(added\|removed\)\|anemone: server 52:54:00:a0:ff:01: ' |
    grep -v 'anemone: /\(dev\|tmp\)' >"$SCRATCH/log"
[ ! -s "$SCRATCH/log" ] || fail "in the kernel's log: $(cat "$SCRATCH/log")"
anemone_unload || fail "unload"
nothing_left || fail "something is left"
