#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# The first program of the client VM in its root file system. It prepares the machine for a script, notifies the
# runner, and then executes the runner's commands, one a line:
#   run MARK       run the script; `MARK STATUS` follows the last byte of its output
#   server VERB N  with --single: kill, start, pause, resume, link-down, link-up
# shellcheck disable=SC1091 # these files exist in the guest only
. /etc/anemone/environment
export PATH

mount -t proc proc /proc
mount -t sysfs sysfs /sys
mkdir -p /dev/pts /dev/shm /tmp /run /sys/fs/cgroup
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
mount -t tmpfs tmpfs /tmp
mount -t tmpfs tmpfs /run
mount -t debugfs debugfs /sys/kernel/debug
mount -t configfs configfs /sys/kernel/config
mount -t cgroup2 cgroup2 /sys/fs/cgroup
for controller in memory io pids cpu cpuset; do
    echo "+$controller" >/sys/fs/cgroup/cgroup.subtree_control
done 2>/dev/null
ln -sf /proc/self/fd /dev/fd
ln -sf fd/0 /dev/stdin
ln -sf fd/1 /dev/stdout
ln -sf fd/2 /dev/stderr
ln -sf ttyS1 /dev/anemone-host

# One line for each read, as from a terminal, but without echo or translation. It is held open, so that an answer is
# kept for the next program that opens the device.
exec 4<>/dev/anemone-host
stty -F /dev/anemone-host icanon clocal -echo -isig -iexten -icrnl -inlcr -ixon -opost

echo 500 >/proc/sys/vm/watermark_scale_factor
echo 1 >/proc/sys/kernel/panic_on_oops
echo 7 >/proc/sys/kernel/printk
# Another kernel may have IPv6, and its frames would be counted.
for conf in /proc/sys/net/ipv6/conf/all /proc/sys/net/ipv6/conf/default; do
    [ ! -d "$conf" ] || echo 1 >"$conf/disable_ipv6"
done
hostname client
ip link set lo up
# shellcheck disable=SC3045 # busybox and bash have it
ulimit -l unlimited
# The OOM killer must not kill this shell or the servers beside it. It may kill the script.
echo -1000 >/proc/self/oom_score_adj

# Opens the port for commands, and the one for the script's output.
connect() {
    for port in /sys/class/virtio-ports/*; do
        ln -sf "${port##*/}" "/dev/anemone-$(cat "$port/name")"
    done
    exec 3<>/dev/anemone-ctl
    cat <&5 >/dev/anemone-out 3>&- 4>&- &
    output=$!
}

# A machine that hibernates loses its ports: they accept nothing until their driver is bound again. A script that
# hibernates unbinds it afterwards, and waits for /run/reconnected.
CONSOLE=/sys/bus/virtio/drivers/virtio_console
consoles=$(cd $CONSOLE && echo virtio*)
reconnect() {
    exec 3>&-
    kill "$output"
    wait "$output"
    for device in $consoles; do
        echo "$device" >$CONSOLE/unbind
        echo "$device" >$CONSOLE/bind
    done 2>/dev/null
    until [ "$(cat /sys/class/virtio-ports/*/name 2>/dev/null | wc -l)" = 2 ]; do sleep 0.1; done
    connect
    : >/run/reconnected
}

# Held open, so that it always has a reader.
mkfifo /run/output
exec 5<>/run/output
connect
if [ "${VM_SINGLE:-0}" = 1 ]; then
    . /etc/anemone/segment.sh
    segment_up
else
    ip link set eth0 mtu "$VM_MTU"
    ip link set eth0 up
fi

run_script() {
    (
        exec 3>&- 4>&- 5>&-
        echo 0 >/proc/self/oom_score_adj
        cd /root || exit 125
        . /etc/anemone/script
    ) </dev/null
    # One write after the script's last byte, to the same pipe, so that nothing is lost or cut.
    printf '%s %s\n' "$1" "$?"
}

echo booted >&3
while :; do
    read -r verb first second <&3 || { reconnect; continue; }
    case $verb in
    run) run_script "$first" >/run/output 2>&1 & ;;
    server) segment_server "$first" "$second" >&3 ;;
    esac
done
