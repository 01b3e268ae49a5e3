# SPDX-License-Identifier: GPL-2.0
"""Maps an address of the guest to a function and its layer."""

import bisect
import os
import re
import subprocess
from dataclasses import dataclass

from vmlib.programs import find_program

from . import layers
from .failure import Failure

# Addresses below belong to programs.
USER_END = 1 << 47
# Symbols that the compiler puts before functions are not functions.
_PADDING = ("__pfx_", "__cfi_")
_HASH = re.compile(r"(?<=\w)\[[0-9a-f]{1,16}\]")


@dataclass(frozen=True)
class Function:
    """The key of the sums of instructions."""

    layer: str
    name: str


class Symbols:
    """The functions of one guest."""

    def __init__(self, kernel, server, code, vdso):
        """`kernel` maps addresses to functions, modules' as well; `server` does so for the program as it
        is linked; `code` says where the servers' programs stand: (from, to, offset in the file); `vdso`
        where the kernel's code in their address spaces does: (from, to)."""
        self._kernel = _Table(kernel)
        self._server = _Table(server)
        self._code = code
        self._vdso = vdso

    def function(self, address):
        """The function that `address` belongs to."""
        if address >= USER_END:
            return self._kernel.at(address) or Function(layers.REST, "(unknown)")
        for begin, end, offset in self._code:
            if begin <= address < end:
                found = self._server.at(address - begin + offset)
                return found or Function(layers.SERVER, "(unknown)")
        if any(begin <= address < end for begin, end in self._vdso):
            return Function(layers.SERVER, "(vdso)")
        return Function(layers.FIO, "fio and its libraries")


class _Table:
    """Functions by their first address."""

    def __init__(self, functions):
        self._begins = sorted(functions)
        self._functions = [functions[address] for address in self._begins]

    def at(self, address):
        index = bisect.bisect_right(self._begins, address) - 1
        return self._functions[index] if index >= 0 else None


def mark_address(tree):
    """Where the kernel's sync(2) begins: the guest's mark for the plugin."""
    for address, _, name in _system_map(tree):
        if name == "__x64_sys_sync":
            return address
    raise Failure(f"{tree}/System.map names no __x64_sys_sync")


def kernel_functions(tree):
    """The functions that are built into the kernel of that tree."""
    return place(_system_map(tree), objects(tree))


def place(symbols, objects_of):
    """Functions by address. `symbols`: (address, type, name); `objects_of`: to each name the objects that
    define it. A name that several define is taken for the neighbour's, whose code stands beside it."""
    # Of several names for one address, the one with the fewest underscores in front comes first.
    text = sorted(((address, name) for address, kind, name in symbols
                   if kind in "tTwW" and not name.startswith(_PADDING)),
                  key=lambda symbol: (symbol[0], len(symbol[1]) - len(symbol[1].lstrip("_")), symbol[1]))
    certain = [(address, next(iter(objects_of[name]))) for address, name in text
               if len(objects_of.get(name, ())) == 1]
    begins = [address for address, _ in certain]
    functions = {}
    for address, name in text:
        candidates = objects_of.get(name, set())
        path = next(iter(candidates)) if len(candidates) == 1 else None
        if len(candidates) > 1:
            index = bisect.bisect_right(begins, address)
            beside = [certain[i][1] for i in (index - 1, index) if 0 <= i < len(certain)]
            path = next((near for near in beside if near in candidates), min(candidates))
        if address not in functions or functions[address][1] is None:
            functions[address] = (name, path)
    return {address: Function(layers.of_kernel(name, path), name) for address, (name, path) in functions.items()}


def objects(tree):
    """To each function's name, the object files that define it, by their paths in the tree."""
    archives = [os.path.join(tree, name) for name in ("vmlinux.a", "lib/lib.a", "arch/x86/lib/lib.a")]
    archives = [path for path in archives if os.path.exists(path)]
    if not archives:
        raise Failure(f"{tree} has no vmlinux.a, from which the layers of functions are read: "
                      "a tree in which Linux was built is needed, as `scripts/kernel build release` leaves one")
    found, path = {}, None
    for line in _run(["nm", "--defined-only", *archives], directory=tree).splitlines():
        if line.endswith(":"):
            path = os.path.relpath(os.path.join(tree, line[:-1]), tree)
            continue
        words = line.split()
        if len(words) == 3 and words[1] in "tTwW":
            found.setdefault(words[2], set()).add(path)
    return found


def program_functions(path):
    """The functions of a program, as it is linked."""
    functions = {}
    for line in _run(["nm", "--defined-only", "--demangle", path]).splitlines():
        words = line.split(None, 2)
        if len(words) == 3 and words[1] in "tTwW":
            functions.setdefault(int(words[0], 16), Function(layers.SERVER, words[2]))
    if not functions:
        raise Failure(f"{path} has no symbols: build it by `make server`")
    return functions


def module_functions(lines):
    """The functions of loaded modules: (address, name, module)."""
    names = demangled([name for _, name, _ in lines])
    functions = {}
    for (address, _, module), name in zip(lines, names):
        if not name.startswith(_PADDING):
            functions.setdefault(address, Function(layers.of_module(module), name))
    return functions


def demangled(names):
    """Demangles Rust's names, without crates' hashes, which change with each build."""
    if not names:
        return []
    return [_HASH.sub("", name) for name in _run(["c++filt"], "\n".join(names)).splitlines()]


def _system_map(tree):
    try:
        with open(os.path.join(tree, "System.map"), encoding="ascii") as file:
            rows = [line.split() for line in file]
    except OSError as error:
        raise Failure(f"the kernel's System.map cannot be read: {error}") from error
    return [(int(address, 16), kind, name) for address, kind, name in rows]


def _run(command, text=None, directory=None):
    program = find_program(command[0])
    if not program:
        raise Failure(f"{command[0]} is missing: run scripts/setup (Debian package binutils)")
    result = subprocess.run([program, *command[1:]], input=text, capture_output=True, text=True,
                            errors="replace", cwd=directory, check=False)
    if result.returncode != 0:
        raise Failure(f"{' '.join(command)} failed: {result.stderr.strip()[-500:]}")
    return result.stdout
