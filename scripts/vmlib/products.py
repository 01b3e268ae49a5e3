# SPDX-License-Identifier: GPL-2.0
"""The project's products that a run needs: kernels, the module, the memory server, the tool."""

import os
import subprocess

from .errors import EXIT_USAGE, RunnerError

TOP = os.path.normpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))


# The kernels that are built here. scripts/config/NAME.config has the special options of each.
KERNELS = ("release", "debug", "cfi", "rt")


def kernel_tree(name):
    """The built tree of that kernel."""
    result = subprocess.run([os.path.join(TOP, "scripts", "kernel"), "path", name],
                            capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise RunnerError(f"the {name} kernel is not built: run `scripts/kernel build {name}`, "
                          "or give a built tree: KDIR=DIR", EXIT_USAGE)
    return result.stdout.strip()


def kernel_image(tree):
    """The file that QEMU boots: the uncompressed kernel if possible, which saves seconds under TCG."""
    with open(os.path.join(tree, ".config"), encoding="ascii") as file:
        bare = "CONFIG_PVH=y\n" in file
    return os.path.join(tree, "vmlinux" if bare else "arch/x86/boot/bzImage")


def module(kernel):
    return _product("ANEMONE_MODULE", f"build/module/{kernel}/anemone.ko", "make modules")


def server():
    return _product("ANEMONE_SERVER", "build/anemone-server", "make server")


def tool():
    """anemonectl, or None if it has not been built."""
    path = os.environ.get("ANEMONECTL") or os.path.join(TOP, "build", "anemonectl")
    return path if os.path.isfile(path) else None


def _product(variable, default, how):
    path = os.environ.get(variable) or os.path.join(TOP, default)
    if not os.path.isfile(path):
        raise RunnerError(f"{path} is missing: run `{how}`, name another by {variable}=FILE, "
                          "or do without it: --no-module", EXIT_USAGE)
    return path
