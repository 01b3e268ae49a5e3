# SPDX-License-Identifier: GPL-2.0
"""The counting plugin (count.c), built for the QEMU of this machine."""

import os
import re
import subprocess

from vmlib.machine import qemu_program
from vmlib.programs import find_program

from .failure import Failure

SOURCE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "count.c")


def interface(version):
    """The version of the plugin interface to use, from QEMU's version text."""
    match = re.search(r"version (\d+)\.(\d+)", version)
    if not match:
        raise Failure(f"the version of QEMU cannot be read from: {version.strip()}")
    release = (int(match[1]), int(match[2]))
    if release < (6, 0):
        raise Failure(f"QEMU {match[1]}.{match[2]} is too old to count by, 6.0 is the least: run scripts/setup")
    # From 9.0 on QEMU refuses version 1. The functions used here have not changed.
    return 1 if release < (9, 0) else 2


def build(directory):
    """Builds the plugin in `directory`; returns its path."""
    compiler = find_program("gcc") or find_program("cc")
    if not compiler:
        raise Failure("there is no C compiler to build the counting plugin: run scripts/setup (Debian package gcc)")
    version = subprocess.run([qemu_program(), "--version"], capture_output=True, text=True, check=True).stdout
    path = os.path.join(directory, "count.so")
    command = [compiler, "-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC",
               f"-DPLUGIN_VERSION={interface(version)}", "-o", path, SOURCE]
    result = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    if result.returncode != 0:
        raise Failure(f"the counting plugin cannot be built: {' '.join(command)}\n{result.stderr.strip()}")
    return path


def option(path, prefix, address):
    """The argument of `scripts/vm run --plugin`. QEMU splits at commas; a doubled comma is a literal one."""
    def word(text):
        return text.replace(",", ",,")
    return f"{word(path)},out={word(prefix)},mark={address:x}"
