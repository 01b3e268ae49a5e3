# SPDX-License-Identifier: GPL-2.0
"""Keeps processors of the machine busy while tests run."""

import contextlib
import os
import subprocess
import sys

# It looks for its parent each time round: however that ends, nothing goes on without it.
LOOP = "import os, sys\nparent = int(sys.argv[1])\nwhile os.getppid() == parent:\n    pass\n"


@contextlib.contextmanager
def busy(count):
    """So many busy loops, of the priority that we have ourselves."""
    loops = [subprocess.Popen([sys.executable, "-c", LOOP, str(os.getpid())], stdin=subprocess.DEVNULL)
             for _ in range(count)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()
