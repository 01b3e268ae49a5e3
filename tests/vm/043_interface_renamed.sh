#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# what: the interface gets another name and another address under load
# vm: --single --servers 3 --server-mem 96 --client-mem 192 --client-cpus 2 --file tests/vm/common.sh --file build/anemone-test
# bound: 120
# shellcheck source-path=SCRIPTDIR source=common.sh disable=SC2015
. "$(dirname "$0")/common.sh"

needs_single
requires anemone-test
anemone_load size_mib=64 || fail "load"
load_begin --threads 2 --blocks 512
load_progress 200 || fail "the load does not begin"
ip link set eth0 name other0 || fail "rename"
load_progress 200 || fail "under another name the load does not go on"
ip link set other0 name eth0 || fail "rename back"
load_progress 200 || fail "under its old name the load does not go on"
ip link set eth0 address 52:54:00:a0:00:77 || fail "address"
load_progress 200 || fail "with another address the load does not go on"
ip link set eth0 address 52:54:00:a0:00:00 || fail "address"
load_progress 200 || fail "with its old address the load does not go on"
load_end || fail "the load"
