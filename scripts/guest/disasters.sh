#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# The disasters' part in the client VM. It enables swap, sorts more text than there is memory, and disturbs the servers
# meanwhile. First one server loses power and restarts empty. Later each server loses its network cable.
#
#   disasters.sh SEED TEXT_MIB DEVICE_MIB LIMIT_S
#
# It reports to scripts/demo in lines of a word and values:
#   began                           swap is on, the sort begins
#   sample CENTISECONDS MADE SORTED PSWPOUT PSWPIN REPAIR_LEFT
#                                   since then; bytes made and sorted; pages by the kernel's count, and
#                                   those that lack a copy
#   event NAME CENTISECONDS         killed, started; cut, healed; repaired
#   ended CENTISECONDS STATUS       the sort's status, or `limit` if it was stopped at LIMIT_S
#   digest BYTES DIGEST TIME
#   before|after NAME VALUE         counters of the kernel and the module
#   server MAC CAPACITY FREE HEALTH   in pages, with each sample
#   problem TEXT                    an error
# shellcheck source=/dev/null # it exists in the guest only
. "$ANEMONE_LIB"

seed=$1 text_mib=$2 device_mib=$3 limit_s=$4
# Each time that this script wakes up costs the sort some time and memory. Events are sampled closely.
sample_s=2 close_s=0.2
# For how long a server has no power, and the network no cables.
away_s=5

problem() { echo "problem $*"; }
now() { read -r up _ </proc/uptime; echo "${up%.*}${up#*.}"; }

# values_of WHEN: the counters of the kernel and the module. They count a page at different moments, and this script
# may be paged in itself. So they are read when no request is under way and nothing has changed meanwhile.
values_of() {
    files="/proc/vmstat $ANEMONE_DEBUG/counters $ANEMONE_DEBUG/counters /proc/vmstat"
    wait_for 30 "no page under way" counted || problem "pages are still under way after 30 s"
    while read -r name value; do
        echo "$1 $name $value"
    done </run/values
}

counted() {
    # shellcheck disable=SC2086 # words on purpose
    awk '
        $1 !~ /^(pswpout|pswpin|swpout_zero|swpin_zero|oom_kill)$/ && FILENAME == "/proc/vmstat" { next }
        $1 in value { if (value[$1] != $2) changed = 1; next }
        { value[$1] = $2; print }
        END { exit changed || value["in_flight"] > 0 }' $files >/run/values
}

# One process for all: more processes would push the sort's pages out, and the shell's own `read` reads these files in
# pieces.
sample() {
    files="/proc/vmstat /proc/uptime /run/made /run/sorted $ANEMONE_DEBUG/counters $ANEMONE_DEBUG/servers"
    # shellcheck disable=SC2086 # words on purpose
    awk -v "begin=$begin" '
        FILENAME == "/proc/uptime" { now = $1 * 100 }
        FILENAME == "/run/made" { made = $1 + 0 }
        FILENAME == "/run/sorted" { sorted = $1 + 0 }
        $1 == "slot" { print "server", $4, $8, $10, $6 }
        { value[$1] = $2 }
        END {
            print "sample", now - begin, made, sorted, value["pswpout"] + 0, value["pswpin"] + 0,
                value["repair_left"] + 0
        }' $files
}

swap_on() {
    anemone_load "size_mib=$device_mib" || fail "the module cannot be loaded"
    anemone_swapon || fail "cannot swap on $ANEMONE_DEVICE"
    # Page out the sort's memory as readily as programs' text: the programs are few, and all in use.
    echo 100 >/proc/sys/vm/swappiness
}

# The programs of the pipe, which leave their exit statuses in files. The sort has no place for temporary files: it
# holds the whole text in memory, or fails. If memory runs out, the kernel should kill the sort.
text() {
    anemone-text make --seed "$seed" --mib "$text_mib" --progress /run/made
    echo $? >/run/made.status
}
sorted() {
    # shellcheck disable=SC2016 # expanded by that shell
    LC_ALL=C sh -c 'echo $$ >/run/sort.pid; echo 300 >/proc/self/oom_score_adj; exec sort "$@"' sh \
        --parallel=1 --buffer-size="$((text_mib * 5 / 4))M" --temporary-directory=/nonexistent
    echo $? >/run/sort.status
}
checked() { anemone-text digest --progress /run/sorted >/run/digest; }

event() { echo "event $1 $(($(now) - begin))"; }

# disturb: triggers the next event when it is due. One for each sample, so that the sort is observed meanwhile.
stage=whole
disturb() {
    read -r sorted_bytes _ </run/sorted
    sorted_mib=$((sorted_bytes >> 20))
    case $stage in
    whole)
        # In the middle: the text has been read and sorted, and is being written.
        [ "$sorted_mib" -ge $((text_mib / 8)) ] || return
        sample_s=$close_s
        event killed
        host kill 1 || problem "server 1 cannot be killed"
        until=$(($(now) + away_s * 100))
        stage=killed
        ;;
    killed)
        [ "$(now)" -ge "$until" ] || return
        sample_s=2
        # It boots. Neither the sort nor this script waits for that.
        { host start 1 || problem "server 1 cannot be started"; : >/run/started; } &
        stage=starting
        ;;
    starting)
        [ -e /run/started ] || return
        event started
        stage=started
        ;;
    started)
        [ "$sorted_mib" -ge $((text_mib * 5 / 8)) ] || return
        sample_s=$close_s
        event cut
        # In one command: until the network is back, no page of this script can be read.
        printf 'link 1 down\nlink 2 down\nwait %s\nlink 1 up\nlink 2 up\n' "$away_s" >"$ANEMONE_HOST"
        {
            for what in "cut 1" "cut 2" wait "connect 1" "connect 2"; do
                read -r answer
                [ "$answer" = ok ] || problem "$what: $answer"
            done
        } <"$ANEMONE_HOST"
        event healed
        until=$(($(now) + 2 * away_s * 100))
        stage=healed
        ;;
    healed)
        [ "$(now)" -ge "$until" ] || return
        sample_s=2
        stage=over
        ;;
    esac
}
is_repaired() { [ "$(counter repair_left)" = 0 ]; }

swap_on
echo 0 >/run/made
echo 0 >/run/sorted
values_of before
begin=$(now)
echo began
# The shell's own message about a stopped sort is not needed.
{ text | sorted | checked; now >/run/end; } 2>/run/errors &
job=$!
state=running
while [ "$state" = running ]; do
    sleep "$sample_s"
    sample
    if [ -s /run/end ]; then
        state=$(cat /run/sort.status)
    elif [ "$(($(now) - begin))" -ge "$((limit_s * 100))" ]; then
        state=limit
        now >/run/limit
        kill -KILL "$(cat /run/sort.pid)"
    else
        disturb
    fi
done
wait "$job" 2>/dev/null
[ "$state" = limit ] || mv /run/end /run/limit
echo "ended $(($(cat /run/limit) - begin)) $state"

if [ "$state" != limit ]; then
    case $stage in
    healed | over) ;;
    *) problem "the sort ended before all that was to happen had happened: $stage" ;;
    esac
    wait_for 60 "two copies of every page" is_repaired || problem "some pages still lack a copy"
    sample
    event repaired
fi
values_of after
if [ "$state" != limit ]; then
    [ "$(cat /run/made.status)" = 0 ] || problem "the text could not be made"
    while read -r line; do problem "$line"; done </run/errors
    echo "digest $(cat /run/digest)"
fi

swapoff "$ANEMONE_DEVICE" || problem "swap on $ANEMONE_DEVICE cannot be turned off"
anemone_unload || problem "the module cannot be unloaded"
# The first line says that there is a problem, the second one which. The console has all of it.
kernel_log_clean 2>/run/kernel || problem "the kernel's log is not clean: $(sed -n 2p /run/kernel)"
