#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# The first script in a virtme-ng guest. It provides what numbered tests expect of `scripts/vm run --single --servers 3`,
# and runs them.   vng.sh KERNEL MODULE FILE
# FILE has one NAME:BOUND a line. The guest sees the host's files. Its writes go to memory.
# shellcheck disable=SC1091 # made below
top=$(cd "$(dirname "$0")/../.." && pwd)
kernel=$1 module=${2:-$top/build/module/$1/anemone.ko} list=$3
state=/run/anemone

export PATH=$top/build:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
mkdir -p "$state" /etc/anemone || exit 125
for mount in "debugfs /sys/kernel/debug" "cgroup2 /sys/fs/cgroup" "tmpfs /tmp"; do
    mountpoint -q "${mount#* }" || mount -t "${mount% *}" "${mount% *}" "${mount#* }" || exit 125
done
echo +memory >/sys/fs/cgroup/cgroup.subtree_control
echo 500 >/proc/sys/vm/watermark_scale_factor
# Another kernel may have IPv6, and its frames would be counted.
for conf in /proc/sys/net/ipv6/conf/all /proc/sys/net/ipv6/conf/default; do
    [ ! -d "$conf" ] || echo 1 >"$conf/disable_ipv6"
done
ip link set lo up

cp "$top"/scripts/guest/*.sh /etc/anemone/
cat >/etc/anemone/environment <<END
export PATH=$PATH HOME=/root TERM=dumb ANEMONE_INTERFACE=eth0 ANEMONE_DISK= ANEMONE_KERNEL=$kernel
export ANEMONE_MODULE=$module ANEMONE_SERVER=$top/build/anemone-server
export ANEMONE_SERVERS=52:54:00:a0:00:01,52:54:00:a0:00:02,52:54:00:a0:00:03
export ANEMONE_LIB=/etc/anemone/vng-library.sh
VM_SINGLE=1 VM_SERVERS=3 VM_MTU=1500 VM_CAPACITY_MIB=80
END
# There is no runner here: the loop below executes the requests.
cat >/etc/anemone/vng-library.sh <<END
. /etc/anemone/anemone.sh
host() {
    printf '%s\n' "\$*" >$state/ask
    IFS= read -r anemone_answer <$state/answer
    [ "\$anemone_answer" = ok ] && return 0
    say "host: \$*: \$anemone_answer"
    return 1
}
END
. /etc/anemone/environment
. /etc/anemone/segment.sh
mkfifo "$state/ask" "$state/answer" "$state/said"
exec 3<>"$state/said" 4<>"$state/ask" 5<>"$state/answer"

# await_line WORD: waits on descriptor 3 for the line of a server's start or end. Other lines are old.
await_line() {
    local line
    while IFS= read -r -t 60 line <&3; do
        case $line in
        "$1"*) return ;;
        esac
    done
    return 1
}

answer() {
    local verb=$1 number=$2 direction=$3
    [ "$verb" != link ] || verb=link-$direction
    case $verb in
    start)
        if kill -0 "$(cat "/run/server$number.pid")" 2>/dev/null; then
            echo "error: it runs already"
        else
            segment_server start "$number" && await_line "ready $number" && echo ok || echo "error: it did not start"
        fi
        ;;
    kill) segment_server kill "$number" && await_line "exited $number" && echo ok || echo "error: it was not killed" ;;
    *) segment_server "$verb" "$number" | sed 's/^answer //' ;;
    esac
}

segment_up || exit 125
for number in 1 2 3; do
    [ "$(answer start $number)" = ok ] || { echo "server $number did not come up"; exit 125; }
done
(while read -r line <&4; do
    # shellcheck disable=SC2086 # words on purpose
    answer $line >&5
done) &
asked=$!
cd "$top/tests/vm" || exit 125
# shellcheck disable=SC2046 # a word each
/bin/sh ./several.sh $(cat "$list") 3>&- 4>&- 5>&-
status=$?
kill "$asked"
pkill -x anemone-server
exit "$status"
