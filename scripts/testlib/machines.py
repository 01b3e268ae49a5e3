# SPDX-License-Identifier: GPL-2.0
"""The kinds of machine that kernel tests name, and the parsing of a test's header."""

import os
import re
import shlex

from vmlib.errors import EXIT_USAGE, RunnerError

from .report import TOP

KINDS = os.path.join(TOP, "tests", "vm", "machines")
# All kernel tests source it.
COMMON = "tests/vm/common.sh"


def kinds(path=KINDS):
    """Each kind's options of scripts/vm run."""
    found = {}
    with open(path, encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            words = shlex.split(line, comments=True)
            if not words:
                continue
            if words[0] in found:
                raise RunnerError(f"{path}:{number}: {words[0]} is there twice", EXIT_USAGE)
            found[words[0]] = words[1:]
    return found


def header(path):
    """The fields of a test's first comment, by name."""
    found = {}
    with open(path, encoding="utf-8") as file:
        for line in file:
            if not line.startswith("#"):
                break
            if match := re.match(r"# (\w+): *(.*)", line):
                found[match.group(1)] = match.group(2).strip()
    return found


def options(path, said, known):
    """The options of scripts/vm run for the test at `path`, and the files that it is brought: those of the kind of
    machine that its header names, and then its own."""
    name = said.get("machine")
    if name not in known:
        wrong = f"`# machine: {name}` is not a kind of machine" if name else "there is no `# machine:`"
        raise RunnerError(f"{path}: {wrong}; tests/vm/machines has {', '.join(known)}", EXIT_USAGE)
    words = [*known[name], *shlex.split(said.get("vm", ""))]
    chosen, files = [], [COMMON]
    while words:
        word = words.pop(0)
        if word != "--file":
            chosen.append(word)
        elif words:
            files.append(words.pop(0))
        else:
            raise RunnerError(f"{path}: --file without a file", EXIT_USAGE)
    return tuple(chosen), tuple(files)
