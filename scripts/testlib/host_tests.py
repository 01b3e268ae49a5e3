# SPDX-License-Identifier: GPL-2.0
"""Tests without a test kernel: cargo's, the simulator, and those of the VM runner."""

import os
import re
import shutil
import subprocess
import sys
import time

from .report import TOP, log_path

# The simulator's share of the time of all tests: the seeds that are always tried, in which every kind of fault
# happens, and seeds that are new with this commit.
KNOWN_SEEDS = "200"
NEW_SEEDS = os.environ.get("SEEDS", "2000")
# Seconds for each fuzz target.
FUZZ_S = "15"
# cargo has no tests that skip themselves. A test that cannot run here appends `NAME: REASON` to this file, and ends
# as if it had passed (tests/server_program/).
SKIPPED = log_path("tests-that-skipped-themselves")
ENVIRONMENT = {**os.environ, "CARGO_TERM_COLOR": "never", "NO_COLOR": "1", "ANEMONE_SKIPPED": SKIPPED}

PYTHON_TESTS = {"profile": "profile/test_profile.py", "machines": "runner/test_machines.py",
                "skipped": "runner/test_skipped.py"}

NEXTEST_LINE = re.compile(r"^\s*(PASS|FAIL|SIGABRT|SIGSEGV|TIMEOUT|LEAK|SKIP)\S*\s+\[\s*([\d.]+)s\]\s+(?:\(.*?\)\s+)?(.*)$")
CARGO_LINE = re.compile(r"^test (.*?) \.\.\. (ok|FAILED|ignored)")
RUNNER_LINE = re.compile(r"^(ok|FAIL) (\S+)\s*(.*)$")


def run(report, pattern):
    """Units and properties, the instruction counter, the simulator, whether it finds planted bugs, and fuzzing."""
    if shutil.which("cargo") is None:
        report.failed("host", 0, "cargo was not found: run `make setup`")
        return
    wanted = re.compile(pattern)
    nextest = shutil.which("cargo-nextest") is not None
    if nextest:
        command = ["cargo", "nextest", "run", "--no-fail-fast", "--status-level", "all",
                   "--final-status-level", "none", "--failure-output", "final"]
    else:
        command = ["cargo", "test", "--no-fail-fast"]
    _follow(report, "host", command, lambda line: _nextest(line) if nextest else _cargo(line), wanted)
    for name, path in PYTHON_TESTS.items():
        if wanted.search(name):
            _whole(report, name, [sys.executable, os.path.join(TOP, "tests", path)])
    simulator = os.path.join(TOP, "scripts", "sim")
    if os.path.exists(simulator) and wanted.search("simulator"):
        _whole(report, "simulator", [simulator, "--seeds", KNOWN_SEEDS])
    if os.path.exists(simulator) and wanted.search("new-seeds"):
        log = _whole(report, "new-seeds", [simulator, "--new", NEW_SEEDS])
        report.note(_first_line(log))
    if os.path.exists(simulator) and wanted.search("mutations"):
        _whole(report, "mutations", [simulator, "--mutations"])
    if wanted.search("fuzz"):
        _whole(report, "fuzz", [os.path.join(TOP, "scripts", "fuzz"), "--seconds", FUZZ_S])


def _first_line(path):
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.readline().strip()


def run_runner(report, pattern):
    """The VM runner's own tests."""
    wanted = re.compile(pattern)
    command = [os.path.join(TOP, "tests", "runner", "run.sh")]
    if pattern:
        listed = re.findall(r"^test_(\w+)\(\)", open(command[0], encoding="utf-8").read(), re.M)
        names = [name for name in listed if wanted.search(f"runner:{name}")]
        if not names:
            return
        command += names
    _follow(report, "runner", command, _runner, wanted)


def _nextest(line):
    match = NEXTEST_LINE.match(line)
    if not match:
        return None
    kind, seconds, name = match.groups()
    result = {"PASS": "ok", "LEAK": "ok", "SKIP": "skip"}.get(kind, "FAIL")
    return result, name.strip().replace(" ", "::"), float(seconds), kind if result == "FAIL" else ""


def _cargo(line):
    match = CARGO_LINE.match(line)
    if not match:
        return None
    name, result = match.groups()
    return {"ok": "ok", "ignored": "skip"}.get(result, "FAIL"), name, None, "" if result == "ok" else result


def _runner(line):
    match = RUNNER_LINE.match(line)
    if not match:
        return None
    result, name, rest = match.groups()
    took = re.search(r"\((\d+) s\)", rest)
    return result, name, float(took.group(1)) if took else None, "" if result == "ok" else rest


def _skipped_because(name):
    """Why a test that ended well has skipped itself; or None."""
    with open(SKIPPED, encoding="utf-8") as file:
        for line in file:
            skipped, _, why = line.strip().partition(": ")
            if f"::{name}".endswith(f"::{skipped}"):
                return why
    return None


def _follow(report, group, command, understand, wanted):
    """Runs a command that prints a line for each of its tests."""
    log = log_path(group)
    open(SKIPPED, "w", encoding="utf-8").close()
    failures = 0
    with open(log, "w", encoding="utf-8") as file:
        process = subprocess.Popen(command, cwd=TOP, env=ENVIRONMENT, text=True, errors="replace",
                                   stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        try:
            for line in process.stdout:
                file.write(line)
                understood = understand(line)
                if not understood or not wanted.search(f"{group}:{understood[1]}"):
                    continue
                result, name, seconds, why = understood
                if result == "ok" and (skipped := _skipped_because(name)):
                    result, why = "skip", skipped
                if result == "ok":
                    report.passed(f"{group}:{name}", seconds)
                elif result == "skip":
                    report.skipped(f"{group}:{name}", why or "ignored")
                else:
                    failures += 1
                    report.failed(f"{group}:{name}", seconds, why or "failed", log)
        finally:
            status = _ended(process)
    if status != 0 and failures == 0:
        report.failed(group, None, f"`{' '.join(command[:3])}` ended with status {status}", log)


def _whole(report, name, command):
    """Runs a command that is one test. Returns the path of its output."""
    log = log_path(name)
    began = time.monotonic()
    with open(log, "w", encoding="utf-8") as file:
        process = subprocess.Popen(command, cwd=TOP, env=ENVIRONMENT, stdin=subprocess.DEVNULL,
                                   stdout=file, stderr=subprocess.STDOUT)
        try:
            process.wait()
        finally:
            status = _ended(process)
    seconds = time.monotonic() - began
    if status == 0:
        report.passed(name, seconds)
    else:
        report.failed(name, seconds, f"status {status}", log)
    return log


def _ended(process):
    if process.poll() is None and process.stdout is None:
        process.terminate()
    return process.wait()
