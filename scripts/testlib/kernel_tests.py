# SPDX-License-Identifier: GPL-2.0
"""The numbered kernel tests of tests/vm: finding them, and running several in one boot."""

import concurrent.futures
import dataclasses
import glob
import os
import re
import subprocess
import threading

from vmlib.products import KERNELS

from . import machines
from .report import TOP, log_path

DIRECTORY = os.path.join(TOP, "tests", "vm")
DRIVER = os.path.join(DIRECTORY, "several.sh")
PASSED, SKIPPED = 0, 4
# The factor by which time limits are longer on a kernel that is slower than the release kernel.
FACTORS = {"debug": 6, "rt": 2}
# The time limit of scripts/vm for a boot, on an idle machine.
BOOT_S = 120
# Ending a test after its time limit and restoring the machine take some time as well.
GRACE_S = 40
RUNNER_STATUS = {124: "the boot's time was over", 125: "a VM never came up",
                 126: "a VM was lost (a kernel panic, a power-off)"}


@dataclasses.dataclass(frozen=True)
class Test:
    """One script and its header."""

    name: str
    path: str
    what: str
    options: tuple
    files: tuple
    bound_s: int
    kinds: tuple

    def runs_on(self, kernel):
        return kernel in self.kinds

    def label(self, kernel):
        return self.name if kernel == "release" else f"{self.name}@{kernel}"


def found(pattern):
    """The tests whose name matches."""
    wanted = re.compile(pattern)
    paths = sorted(glob.glob(os.path.join(DIRECTORY, "[0-9][0-9][0-9]_*.sh")))
    known = machines.kinds()
    tests = [read(path, known) for path in paths]
    return [test for test in tests if wanted.search(test.name)]


def read(path, known=None):
    """The test in the script at `path`."""
    said = machines.header(path)
    options, files = machines.options(path, said, known or machines.kinds())
    kinds = ["release", *said.get("kinds", "").split()] + ["debug"] * (said.get("debug") == "yes")
    return Test(name=os.path.basename(path)[:-3], path=path, what=said.get("what", ""), options=options,
                files=files, bound_s=int(said.get("bound", "60")), kinds=tuple(kinds))


def with_files(test, files, bound_s):
    """The same test with additional files, and another time limit."""
    return dataclasses.replace(test, files=test.files + tuple(files), bound_s=bound_s)


def run(report, options):
    """Runs the selected tests, several boots at a time."""
    tests = found(options.filter)
    boots = []
    for kernel in _kernels(report, options.kernel):
        chosen = [test for test in tests if test.runs_on(kernel)]
        if chosen and (lack := missing(kernel, chosen)):
            report.failed(f"vm ({kernel})", None, lack)
        else:
            boots += [(kernel, group) for group in _groups(chosen, options.jobs)]
    # The longest group first, so that no processor is idle while another has much left to do.
    boots.sort(key=lambda boot: -sum(test.bound_s for test in boot[1]))
    running = [Boot(report, kernel, group, options.slow) for kernel, group in boots]
    with concurrent.futures.ThreadPoolExecutor(max_workers=options.jobs) as pool:
        waiting = [pool.submit(boot.run) for boot in running]
        try:
            for each in concurrent.futures.as_completed(waiting):
                each.result()
        except BaseException:
            for boot in running:
                boot.stop()
            raise


def _kernels(report, asked):
    if asked in KERNELS:
        return [asked]
    if asked == "both" or not missing("debug", []):
        return ["release", "debug"]
    report.note("the debug kernel is not built, so no tests run on it: make kernel modules KERNEL=debug")
    return ["release"]


def missing(kernel, tests):
    """Names a missing product and how to build it; or None."""
    suffix = "" if kernel == "release" else f" KERNEL={kernel}"
    path = subprocess.run([os.path.join(TOP, "scripts", "kernel"), "path", kernel],
                          capture_output=True, check=False)
    if path.returncode != 0:
        return f"the {kernel} kernel is not built: run `make kernel{suffix}`"
    if not os.environ.get("ANEMONE_MODULE") and not os.path.exists(
            os.path.join(TOP, "build", "module", kernel, "anemone.ko")):
        return f"build/module/{kernel}/anemone.ko is missing: run `make modules{suffix}`"
    products = {"build/anemone-server": "make server", "build/anemonectl": "make server"}
    files = [name for test in tests for name in test.files if name.startswith("build/")]
    products.update({name: "make kunit" if name.startswith("build/kunit/") else "make programs" for name in files})
    for name, how in products.items():
        if not os.path.exists(os.path.join(TOP, name)):
            return f"{name} is missing: run `{how}`"
    return None


def _groups(tests, jobs):
    """Tests that share a boot: those with the same options, in as many boots as run at a time."""
    by_options = {}
    for test in tests:
        by_options.setdefault(test.options, []).append(test)
    total = sum(test.bound_s for test in tests)
    for group in by_options.values():
        share = max(total / jobs, 1)
        boots = max(1, min(len(group), round(sum(test.bound_s for test in group) / share * jobs / 2)))
        parts = [[] for _ in range(boots)]
        for test in sorted(group, key=lambda test: -test.bound_s):
            min(parts, key=lambda part: sum(each.bound_s for each in part)).append(test)
        for part in parts:
            yield sorted(part, key=lambda test: test.name)


class Boot:
    """Runs a group of tests in one boot, and the remaining ones in another boot if the machine was lost."""

    def __init__(self, report, kernel, tests, slow):
        self._report = report
        self._kernel = kernel
        self._tests = tests
        self._factor = slow * FACTORS.get(kernel, 1)
        self._by_name = {f"{test.name}.sh": test for test in tests}
        self._stopped = threading.Event()
        self._process = None

    def stop(self):
        """Ends it, from another thread. Tests that have not ended by themselves are not reported."""
        self._stopped.set()
        if process := self._process:
            process.terminate()

    def run(self):
        left = list(self._tests)
        while left and not self._stopped.is_set():
            done = self._boot(left)
            left = left[done:]

    def _bounds(self, tests):
        return [max(1, round(test.bound_s * self._factor)) for test in tests]

    def _command(self, tests):
        files = sorted({name for test in tests for name in test.files})
        bounds = self._bounds(tests)
        command = [os.path.join(TOP, "scripts", "vm"), "run", *tests[0].options, "--kernel", self._kernel,
                   "--timeout", str(sum(bounds) + GRACE_S * len(tests)),
                   "--boot-timeout", str(BOOT_S * self._factor)]
        for name in files:
            command += ["--file", os.path.join(TOP, name)]
        for test in tests:
            command += ["--file", test.path]
        return [*command, DRIVER, *(f"{test.name}.sh:{bound}" for test, bound in zip(tests, bounds))]

    def _boot(self, tests):
        """Returns how many of the tests are done: at least one."""
        process = subprocess.Popen(self._command(tests), cwd=TOP, text=True, errors="replace",
                                   stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self._process = process
        done, current, lines, log = 0, None, [], None
        try:
            for line in process.stdout:
                words = line.split()
                if words[:2] == ["@@", "begin"]:
                    current, lines = self._by_name[words[2]], []
                    log = self._log(current)
                elif words[:2] == ["@@", "end"]:
                    self._ended(self._by_name[words[2]], int(words[3]), int(words[4]) / 100, lines)
                    log.close()
                    current, lines = None, []
                    done += 1
                else:
                    lines.append(line)
                    if current:
                        log.write(line)
        finally:
            if log:
                log.close()
            if process.poll() is None:
                process.terminate()
            status = process.wait()
        if self._stopped.is_set():
            return len(tests)
        if current or done == 0:
            # The runner's messages about a lost machine belong to the test that lost it.
            test = current or tests[0]
            why = RUNNER_STATUS.get(status, f"the VM runner ended with status {status}")
            if not current:
                with self._log(test) as log:
                    log.writelines(lines)
            said = [line for line in lines if line.startswith("vm: error:")]
            self._failed(test, None, (said or [why])[-1].strip())
            done += 1
        return done

    def _ended(self, test, status, seconds, lines):
        if status == PASSED:
            self._report.passed(test.label(self._kernel), seconds)
            if said := _last(lines, "note: "):
                self._report.note(f"{test.label(self._kernel)}: {said}")
        elif status == SKIPPED:
            self._report.skipped(test.label(self._kernel), _last(lines, "skipped: ") or "not applicable here")
        else:
            self._failed(test, seconds, _last(lines, "failed: ") or f"ended with status {status}")

    def _log(self, test):
        """Written line by line, because the run may be observed or interrupted."""
        return open(log_path(test.label(self._kernel)), "w", encoding="utf-8", buffering=1)

    def _failed(self, test, seconds, why):
        self._report.failed(test.label(self._kernel), seconds, why, log_path(test.label(self._kernel)))


def _last(lines, start):
    said = [line[len(start):].strip() for line in lines if line.startswith(start)]
    return said[-1] if said else None
