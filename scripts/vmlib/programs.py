# SPDX-License-Identifier: GPL-2.0
"""Programs of the host, copied to a guest with all that they need there."""

import os
import re
import shutil
import subprocess

from .archive import merged
from .errors import EXIT_USAGE, RunnerError

SEARCH_PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin", "/sbin",
                               "/usr/local/bin", "/usr/bin", "/bin"])


def find_program(name):
    """The host's program of that name, even if /usr/sbin is not on the user's PATH."""
    return shutil.which(name, path=SEARCH_PATH)


def is_elf(path):
    with open(path, "rb") as file:
        return file.read(4) == b"\x7fELF"


def shared_libraries(path):
    """The shared libraries and the loader that the program needs, as the host would load them."""
    result = subprocess.run(["ldd", path], capture_output=True, text=True, check=False,
                            env={**os.environ, "LC_ALL": "C"}, stdin=subprocess.DEVNULL)
    missing = re.findall(r"^\s*(\S+) => not found", result.stdout, re.M)
    if missing:
        raise RunnerError(f"{path} needs {', '.join(missing)}, which this machine does not have: "
                          "install the library, or bring another build of the program", EXIT_USAGE)
    return re.findall(r"^\s*(?:\S+ => )?(/\S+) \(0x", result.stdout, re.M)


def add_libraries(tree, path):
    """Adds what the program at the host's `path` needs; a script needs its interpreter."""
    if is_elf(path):
        for library in shared_libraries(path):
            if merged(library) not in tree:
                tree.file(merged(library), library, mode=0o755)


def interpreter(path):
    """The program that a script's first line names, as a path of the host, or None."""
    with open(path, "rb") as file:
        line = file.readline(256)
    if not line.startswith(b"#!"):
        return None
    words = line[2:].decode(errors="replace").split()
    if not words:
        return None
    if os.path.basename(words[0]) == "env" and len(words) > 1:
        return find_program([word for word in words[1:] if not word.startswith("-")][0])
    return words[0]


def add_path(tree, host_path, guest_path):
    """Adds a file with its libraries, or a directory with all its contents."""
    if not os.path.exists(host_path):
        raise RunnerError(f"--file {host_path}: there is no such file", EXIT_USAGE)
    if os.path.isdir(host_path):
        add_tree(tree, host_path, merged(guest_path))
        return
    if not os.path.isfile(host_path):
        raise RunnerError(f"--file {host_path}: is neither a file nor a directory", EXIT_USAGE)
    tree.file(merged(guest_path), host_path)
    add_libraries(tree, host_path)


def add_tree(tree, host_path, guest_path, skip=()):
    """Adds a directory with all its contents except those in `skip`."""
    tree.directory(guest_path)
    for entry in sorted(os.scandir(host_path), key=lambda entry: entry.name):
        guest_entry = os.path.join(guest_path, entry.name)
        if entry.name in skip:
            continue
        if entry.is_symlink():
            tree.link(guest_entry, os.readlink(entry.path))
        elif entry.is_dir():
            add_tree(tree, entry.path, guest_entry)
        elif entry.is_file():
            tree.file(guest_entry, entry.path)
            if os.access(entry.path, os.X_OK):
                add_libraries(tree, entry.path)
