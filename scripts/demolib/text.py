# SPDX-License-Identifier: GPL-2.0
"""The digest that the sorted text must have, computed on the host."""

import os
import signal
import subprocess

from .failure import Failure


class Expected:
    """The same text, made and sorted here, in the background; as a context, nothing of it stays."""

    def __init__(self, text, seed, text_mib):
        """`text` is the program that makes the text."""
        self._text = text
        self._seed = seed
        self._text_mib = text_mib
        self._process = None

    def __enter__(self):
        # In memory here too: the host has enough, and temporary files would be left behind.
        pipe = (f'set -o pipefail; "$1" make --seed {self._seed} --mib {self._text_mib} | '
                f'LC_ALL=C sort --parallel=1 --buffer-size={self._text_mib * 2}M | "$1" digest')
        # Its own process group, so that all three programs end together.
        self._process = subprocess.Popen(["bash", "-c", pipe, "bash", self._text], stdout=subprocess.PIPE,
                                         stdin=subprocess.DEVNULL, text=True, process_group=0)
        return self

    def __exit__(self, *_):
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._process.stdout.close()

    def digest(self):
        """Waits for it."""
        output = self._process.communicate()[0]
        if self._process.returncode != 0:
            raise Failure("the text could not be sorted on this machine to know its digest")
        return output.split()[1]
