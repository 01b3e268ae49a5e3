# SPDX-License-Identifier: GPL-2.0
"""The cache for expensive products: outside the checkout, under a key of all their inputs."""

import contextlib
import fcntl
import hashlib
import os
import shutil
import tempfile


def cache_directory():
    """The runner's directory in the cache that scripts/lib/common.sh names."""
    base = os.environ.get("ANEMONE_CACHE")
    if not base:
        home = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
        base = os.path.join(home, "anemone")
    path = os.path.join(base, "vm")
    os.makedirs(path, exist_ok=True)
    return path


def key_of(parts):
    """A short name for exactly these parts."""
    return hashlib.sha256("\0".join(map(str, parts)).encode()).hexdigest()[:16]


def identity(path):
    """A value that changes with the file's content, without reading it."""
    status = os.stat(path)
    return f"{path} {status.st_size} {status.st_mtime_ns}"


def cached_file(kind, key, suffix, make, keep=4):
    """The file for `key`, made by `make(path, scratch directory)` if it is not there yet.

    Runs at the same time wait for one another here; of each kind the `keep` last used stay.
    A file that a running VM still has open may go: its descriptor keeps the content.
    """
    directory = cache_directory()
    path = os.path.join(directory, f"{kind}-{key}{suffix}")
    with _locked(os.path.join(directory, f"{kind}.lock")):
        if not os.path.exists(path):
            scratch = tempfile.mkdtemp(prefix=f"{kind}-new-", dir=directory)
            try:
                made = os.path.join(scratch, "made")
                make(made, scratch)
                os.rename(made, path)
            finally:
                shutil.rmtree(scratch, ignore_errors=True)
        os.utime(path)
        _forget_old(directory, kind, suffix, keep)
        return open(path, "rb")


@contextlib.contextmanager
def _locked(path):
    with open(path, "wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _forget_old(directory, kind, suffix, keep):
    names = [name for name in os.listdir(directory)
             if name.startswith(f"{kind}-") and name.endswith(suffix)]
    paths = sorted((os.path.join(directory, name) for name in names), key=os.path.getmtime)
    for path in paths[:-keep]:
        os.unlink(path)
    # Remove what a killed run has left incomplete. The lock keeps other runs from making this kind now.
    for name in os.listdir(directory):
        if name.startswith(f"{kind}-new-"):
            shutil.rmtree(os.path.join(directory, name), ignore_errors=True)
