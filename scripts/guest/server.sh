#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# The first program of a server VM: busybox sh in an initramfs.
# VM_NUMBER, VM_MTU and VM_CAPACITY_MIB come from the kernel's command line: the kernel passes unknown parameters to its
# first program. It reports to the runner over ttyS1: `ready` when the memory server serves, `exited STATUS` if it ends
# by itself.
export PATH=/bin NO_COLOR=1
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev 2>/dev/null
mkdir -p /tmp /run && mount -t tmpfs tmpfs /tmp

if [ -n "$VM_PROBE" ]; then
    echo "anemone-vm: ready"
    poweroff -f
fi

exec 3<>/dev/ttyS1
stty -F /dev/ttyS1 raw -echo clocal
# shellcheck disable=SC3045 # busybox and bash have it
ulimit -l unlimited
# Another kernel may have IPv6, and its frames would be counted.
for conf in /proc/sys/net/ipv6/conf/all /proc/sys/net/ipv6/conf/default; do
    [ ! -d "$conf" ] || echo 1 >"$conf/disable_ipv6"
done
ip link set lo up
ip addr add "10.181.0.$VM_NUMBER/24" dev eth0
ip link set eth0 mtu "${VM_MTU:-1500}" && ip link set eth0 up || echo "error eth0 cannot be set up" >&3

serve() {
    anemone-server --interface eth0 --capacity "${VM_CAPACITY_MIB}M" 3>&-
    echo "anemone-vm-exited $?"
}

if [ -x /bin/anemone-server ]; then
    # Its log goes to the console. Through the pipe `ready` is noticed as soon as it is logged.
    serve 2>&1 | while IFS= read -r line; do
        case $line in
        'anemone-vm-exited '*) echo "exited ${line#anemone-vm-exited }" >&3 ;;
        ready* | *[!a-z]ready*) echo "$line"; echo ready >&3 ;;
        *) echo "$line" ;;
        esac
    done
else
    echo ready >&3
fi
# The first program must not end; the runner turns the machine off.
while :; do read -r _ <&3; done
