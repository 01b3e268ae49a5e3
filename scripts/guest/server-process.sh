#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Becomes server N's process of --single, in the network namespace `serverN`.
# Without a server program (--no-module), a process that can be killed and paused.
# shellcheck disable=SC1091 # it exists in the guest only
. /etc/anemone/environment
echo "$$" >"/run/server$1.pid"
export NO_COLOR=1
if [ -n "$ANEMONE_SERVER" ]; then
    exec ip netns exec "server$1" "$ANEMONE_SERVER" --interface eth0 --capacity "${VM_CAPACITY_MIB}M"
fi
echo "ready: nothing is served"
exec ip netns exec "server$1" tail -f /dev/null
