# SPDX-License-Identifier: GPL-2.0
"""Keeps processors of the machine busy while tests run."""

import contextlib
import os
import subprocess
import sys

# It checks for its parent in each iteration, so it never outlives it.
LOOP = "import os, sys\nparent = int(sys.argv[1])\nwhile os.getppid() == parent:\n    pass\n"


@contextlib.contextmanager
def busy(count):
    """This many busy loops, with this process's priority."""
    loops = [subprocess.Popen([sys.executable, "-c", LOOP, str(os.getpid())], stdin=subprocess.DEVNULL)
             for _ in range(count)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()
