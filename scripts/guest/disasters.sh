#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# The disasters' part in the client VM: swaps on, sorts more text than there is memory, and has things
# go wrong meanwhile. First one server loses its power, and comes back empty; later every server loses
# its network cable.
#
#   disasters.sh SEED TEXT_MIB DEVICE_MIB LIMIT_S
#
# Tells scripts/demo in lines of a first word and values:
#   began                           swap is on, the sort begins
#   sample CENTISECONDS MADE SORTED PSWPOUT PSWPIN REPAIR_LEFT
#                                   since then; bytes made and sorted; pages by the kernel's count, and
#                                   those that lack a copy
#   event NAME CENTISECONDS         killed, started; cut, healed; repaired: what has been done, or is so
#   ended CENTISECONDS STATUS       the sort's status, or `limit` if it was stopped at LIMIT_S
#   digest BYTES DIGEST TIME
#   before|after NAME VALUE         counters of the kernel and the module
#   server MAC CAPACITY FREE HEALTH   in pages, with each sample
#   problem TEXT                    what should not be
# shellcheck source=/dev/null # it exists in the guest only
. "$ANEMONE_LIB"

seed=$1 text_mib=$2 device_mib=$3 limit_s=$4
# Each waking of this script costs the sort some time and memory. What an event costs is looked at
# closely.
sample_s=2 close_s=0.2
# How long a server is without power, the network without cables.
away_s=5

problem() { echo "problem $*"; }
now() { read -r up _ </proc/uptime; echo "${up%.*}${up#*.}"; }

# values_of WHEN: what the kernel, and the module, have counted so far. They count a page at different
# moments, and this script may be paged in itself: taken when nothing was under way or has changed.
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

# One process for all: more would push the sort's pages out, and the shell's own `read` takes these
# files in pieces.
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
    # As good to page out the sort's memory as the programs that run: they are few, and all in use.
    echo 100 >/proc/sys/vm/swappiness
}

# The programs of the pipe, which leave their exit statuses in files. The sort has no place for
# temporary files: it holds the whole text in memory, or fails. Should memory run out, it is to go.
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

# disturb: the next event, when its time has come; one a sample, so that the sort is seen meanwhile.
stage=whole
disturb() {
    read -r sorted_bytes _ </run/sorted
    sorted_mib=$((sorted_bytes >> 20))
    case $stage in
    whole)
        # In the middle: all has been read and put in order, and is being written.
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
        # It boots: the sort does not wait for that, nor does this script.
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
        # In one go: until the network is back, nothing of this script may be paged in either.
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
# The shell's own word on a sort that was stopped says nothing new.
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
# Its first line says that there is something, its second what; the console has it all.
kernel_log_clean 2>/run/kernel || problem "the kernel's log is not clean: $(sed -n 2p /run/kernel)"
