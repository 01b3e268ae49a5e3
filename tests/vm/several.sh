#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Runs several numbered tests in one boot, for scripts/test: NAME:BOUND each, BOUND in seconds.
# It prints `@@ begin NAME` before a test's output and `@@ end NAME STATUS HUNDREDTHS` after it. If a test
# leaves the machine so that the next one cannot be run, the whole run ends with status 3.

hundredths() { sed 's/ .*//; s/\.//; s/^0*\(.\)/\1/' /proc/uptime; }

spoiled() {
    [ ! -e /sys/module/anemone ] || { echo "the module is still there"; return 0; }
    ! grep -q . /sys/fs/cgroup/test*/cgroup.procs 2>/dev/null || { echo "its processes are still there"; return 0; }
    return 1
}

# --watch PID BOUND: ends the process group when its time is over, first gently.
if [ "$1" = --watch ]; then
    sleep "$3"
    echo "failed: it did not end within $3 s"
    # Logs what hangs, and where.
    echo w >/proc/sysrq-trigger
    kill -TERM "-$2"
    sleep 20
    kill -KILL "-$2"
    exit
fi

for item; do
    name=${item%:*}
    printf '@@ begin %s\n' "$name"
    dmesg -c >/dev/null
    from=$(hundredths)
    # A process group of its own, but not as its session's leader: the kernel would make the device
    # $ANEMONE_HOST that one's terminal, and hang it up for all processes when the test ends.
    # shellcheck disable=SC2016 # for the inner shell
    setsid /bin/sh -c 'trap : TERM; /bin/sh "$0"; exit $?' "./$name" </dev/null &
    pid=$!
    setsid /bin/sh "$0" --watch "$pid" "${item##*:}" </dev/null &
    watchdog=$!
    wait "$pid"
    status=$?
    kill -TERM "-$watchdog" 2>/dev/null
    printf '\n@@ end %s %s %s\n' "$name" "$status" $(($(hundredths) - from))
    spoiled && exit 3
done
exit 0
