# SPDX-License-Identifier: GPL-2.0
"""Measures the cost of operations: one virtual machine runs all jobs, and the plugin counts."""

import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass

from vmlib import products

from . import counts, plugin, symbols
from .failure import Failure

# The name of an operation, and fio's name for it.
OPERATIONS = {"page-in": "randread", "page-out": "randwrite", "mixed": "randrw", "sequential-in": "read",
              "sequential-out": "write", "discard": "randtrim"}
# The RAM disk of --mirror.
MIRROR_DISK_MIB = 80


@dataclass
class Job:
    """One measurement."""

    operation: str
    depth: int

    @property
    def word(self):
        """The guest script's name for it."""
        return f"{OPERATIONS[self.operation]}:{self.depth}"


@dataclass
class Result:
    """The cost of one operation of a job."""

    job: Job
    # Counted nanoseconds between two operations' ends.
    nanoseconds: int
    # Of each run, instructions by (side, function).
    runs: list


@dataclass
class Guest:
    """The guest's output."""

    times: dict
    modules: list
    code: list
    vdso: list


def understand(lines, on_job):
    """Parses the guest script's lines. `on_job` is called when a job begins. Other lines are passed on."""
    guest = Guest({}, [], [], [])
    for line in lines:
        words = line.split()
        if words[:1] == ["job"] and len(words) == 2:
            on_job(words[1])
        elif words[:1] == ["time"] and len(words) == 3:
            guest.times[words[1]] = int(words[2])
        elif words[:1] == ["symbol"] and len(words) == 5:
            guest.modules.append((int(words[1], 16), words[3], words[4]))
        elif words[:1] == ["code"] and len(words) == 4:
            guest.code.append(tuple(int(word, 16) for word in words[1:]))
        elif words[:1] == ["vdso"] and len(words) == 3:
            guest.vdso.append(tuple(int(word, 16) for word in words[1:]))
        else:
            print(line.rstrip("\n"), file=sys.stderr)
    return guest


def run(top, options, jobs, progress):
    """Measures all jobs in one boot."""
    tree = products.kernel_tree("release")
    with tempfile.TemporaryDirectory(prefix="anemone-profile-") as directory:
        progress.begin("building the counting plugin")
        library = plugin.build(directory)
        progress.begin("reading the kernel's symbols")
        kernel = symbols.kernel_functions(tree)
        server = symbols.program_functions(products.server())
        progress.begin("booting the virtual machine")
        guest = _guest(top, options, jobs, progress,
                       plugin.option(library, os.path.join(directory, "counts"), symbols.mark_address(tree)))
        progress.begin("adding up")
        if not guest.code or not guest.modules:
            raise Failure("the guest named neither modules nor servers")
        known = symbols.Symbols({**kernel, **symbols.module_functions(guest.modules)}, server, guest.code,
                                guest.vdso)
        costs = counts.of_jobs(directory, len(jobs), options.runs, known, options.processors, options.count)
    return [Result(job, guest.times[job.word], runs) for job, runs in zip(jobs, costs)]


def _guest(top, options, jobs, progress, plugin_option):
    command = [os.path.join(top, "scripts", "vm"), "run", "--single", "--icount", "--client-mem", "256",
               "--server-mem", "160", "--timeout", str(options.timeout), "--servers", str(options.servers),
               "--client-cpus", str(options.processors), "--mtu", str(options.mtu), "--plugin", plugin_option,
               os.path.join(top, "tests", "bench", "cost.sh"), str(options.count),
               str(options.runs), str(MIRROR_DISK_MIB if options.mirror else 0), *(job.word for job in jobs),
               "--", *options.parameter]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
                               errors="replace")
    try:
        guest = understand(process.stdout, lambda word: progress.begin(_spoken(word)))
        status = process.wait()
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait()
    if status != 0:
        raise Failure(f"the measurement in the virtual machine failed with status {status}; what it said is above")
    return guest


def _spoken(word):
    operation, _, depth = word.partition(":")
    names = {fio: name for name, fio in OPERATIONS.items()}
    return f"measuring {names[operation]}, depth {depth}" if operation in names else word
