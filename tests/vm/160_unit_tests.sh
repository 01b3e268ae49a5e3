#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# what: the unit tests of the wire format, of the engine and of encryption pass inside the kernel, except those that run on the host only
# machine: alone
# vm: --file tests/kunit/host-only --file tests/kunit/kernel-only --file build/kunit/host-tests --file build/kunit/anemone_kunit.ko
# bound: 180
# debug: no, scripts/kunit builds the module of unit tests for the release kernel only
# shellcheck source-path=SCRIPTDIR source=common.sh disable=SC2015
. "$(dirname "$0")/common.sh"

# A test that panics is a BUG. KUnit counts it as failed and runs the others if the kernel survives.
panic_on_oops=$(cat /proc/sys/kernel/panic_on_oops)
restore() {
    echo "$panic_on_oops" >/proc/sys/kernel/panic_on_oops
    common_end "$1"
}
trap 'restore $?' EXIT
echo 0 >/proc/sys/kernel/panic_on_oops

insmod ./anemone_kunit.ko || fail "the tests were not loaded"
# The suites of this module have the paths of Rust modules as names. The kernel has suites of its own.
cat /sys/kernel/debug/kunit/*::*/results >"$SCRATCH/results" || fail "KUnit has no results"
rmmod anemone_kunit || fail "the tests were not unloaded"

# named RESULT: the paths of the tests with this result. KUnit indents the tests of a suite, not the suite.
named() {
    awk -v result="$1" '
        /^ +# Subtest: / { suite = $3 }
        /^ +(not )?ok / {
            is = /^ +not/ ? "failed" : / # SKIP/ ? "skipped" : "passed"
            if (is == result) print suite "::" $(/^ +not/ ? 4 : 3)
        }' "$SCRATCH/results" | sort
}
named passed >"$SCRATCH/passed"
failed=$(named failed)
if [ "$failed" ]; then
    dmesg | grep -A 4 'rust_kernel: panicked' >&2
    fail "$(echo "$failed" | wc -l) failed: $failed"
fi

# What passes on one side only must be named, and nothing else may be.
grep -v '^#' host-only | sort >"$SCRATCH/host-only"
grep -vxFf "$SCRATCH/passed" host-tests | sort >"$SCRATCH/missing"
wrong=$(diff "$SCRATCH/host-only" "$SCRATCH/missing") ||
    fail "tests/kunit/host-only does not name what is missing in the kernel: $wrong"
grep -v '^#' kernel-only | sort >"$SCRATCH/kernel-only"
grep -vxFf host-tests "$SCRATCH/passed" | sort >"$SCRATCH/additional"
wrong=$(diff "$SCRATCH/kernel-only" "$SCRATCH/additional") ||
    fail "tests/kunit/kernel-only does not name what the host does not have: $wrong; scripts/kunit builds both"
say "note: $(wc -l <"$SCRATCH/passed") unit tests passed in the kernel, $(wc -l <"$SCRATCH/host-only") run on the host only"
