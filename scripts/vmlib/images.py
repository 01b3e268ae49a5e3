# SPDX-License-Identifier: GPL-2.0
"""The file systems that guests boot into: the initramfs, the shared tools image, the root disk."""

import os
import subprocess
import tempfile

from . import archive, programs
from .cache import cache_directory, cached_file, identity, key_of
from .errors import EXIT_USAGE, RunnerError

GUEST_SCRIPTS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "guest")

# Copied to every client if the host has them. They take precedence over busybox's applets. They are on a disk, so that
# unused ones take no memory of the client.
TOOLS = ("bash", "dash", "ip", "tc", "bridge", "ethtool", "fio", "kmod", "swapon", "swapoff", "mkswap",
         "swaplabel", "blkid", "wipefs", "blockdev", "blkdiscard", "dmsetup", "lsblk", "findmnt", "losetup", "mke2fs", "unshare", "udevadm")
# One program under several names.
TOOL_LINKS = {"kmod": ("insmod", "rmmod", "modprobe", "lsmod", "modinfo", "depmod"),
              "mke2fs": ("mkfs.ext4",), "udevadm": ("systemd-udevd",)}
# The first of these that the host has is /bin/sh: unlike busybox's shell, bash and dash prefer a
# real `ip` or `tc` to the applet of that name, and bash understands what busybox's shell does.
SHELLS = ("bash", "dash")

ROOT_DISK_MIB = 8192


def guest_script(name):
    return os.path.join(GUEST_SCRIPTS, name)


def busybox():
    """The host's static busybox: a dynamic one would find no libraries in an initramfs."""
    path = programs.find_program("busybox")
    if not path or programs.shared_libraries(path):
        raise RunnerError("no static busybox on this machine: run scripts/setup "
                          "(Debian package busybox-static)")
    return os.path.realpath(path)


def _skeleton(tree):
    """The directories and links that every guest has."""
    for link, target in (("bin", "usr/bin"), ("sbin", "usr/bin"), ("usr/sbin", "bin"),
                         ("lib", "usr/lib"), ("lib64", "usr/lib64")):
        tree.link(link, target)
    for path in ("usr/bin", "usr/lib", "usr/lib64", "dev", "proc", "sys", "run", "mnt", "etc", "root", "var"):
        tree.directory(path)
    tree.directory("tmp", 0o1777)
    tree.text("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n")
    tree.text("etc/group", "root:x:0:\nnogroup:x:65534:\n")
    tree.text("etc/hosts", "127.0.0.1 localhost\n")


def _add_busybox(tree):
    path = busybox()
    tree.file("usr/bin/busybox", path, 0o755)
    applets = subprocess.run([path, "--list"], capture_output=True, text=True, check=True).stdout.split()
    for applet in applets:
        if applet != "busybox":
            tree.link(f"usr/bin/{applet}", "busybox")


def initramfs(init, programs_brought=()):
    """A memory file holding busybox, `init` as the first program, and (name, host path) pairs."""
    tree = archive.Tree()
    _skeleton(tree)
    _add_busybox(tree)
    tree.file("init", guest_script(init), 0o755)
    tree.node("dev/console", 0o20600, 5, 1)
    for name, path in programs_brought:
        tree.file(f"usr/bin/{name}", path, 0o755)
        programs.add_libraries(tree, path)
    memory = os.fdopen(os.memfd_create("initramfs"), "w+b")
    archive.write_cpio(tree, memory)
    memory.flush()
    return memory


def tools_image(kernel_tree):
    """The read-only image that client VMs share: busybox, the host's tools, the kernel's modules."""
    tools = [(name, path) for name in TOOLS if (path := programs.find_program(name))]
    modules = os.path.join(kernel_tree, "modroot", "lib", "modules")
    sources = [os.path.join(os.path.dirname(os.path.abspath(__file__)), name)
               for name in ("images.py", "archive.py", "programs.py")]
    parts = [identity(path) for path in [busybox(), *sources, *(path for _, path in tools)]]
    parts += [identity(os.path.join(modules, release, "modules.dep")) for release in _listing(modules)]

    def make(path, scratch):
        tree = archive.Tree()
        _skeleton(tree)
        _add_busybox(tree)
        for name, host_path in tools:
            tree.file(f"usr/bin/{name}", os.path.realpath(host_path), 0o755)
            programs.add_libraries(tree, host_path)
            for link in TOOL_LINKS.get(name, ()):
                tree.link(f"usr/bin/{link}", name)
        for shell in SHELLS:
            if f"usr/bin/{shell}" in tree:
                tree.link("usr/bin/sh", shell)
                break
        tree.directory("usr/lib/modules")
        for release in _listing(modules):
            programs.add_tree(tree, os.path.join(modules, release), f"usr/lib/modules/{release}",
                              skip=("build", "source"))
        _make_ext4(tree, path, scratch)

    return cached_file("tools", key_of(parts), ".ext4", make)


def _listing(directory):
    return sorted(os.listdir(directory)) if os.path.isdir(directory) else []


def _make_ext4(tree, path, scratch):
    stage = os.path.join(scratch, "stage")
    os.mkdir(stage)
    archive.write_directory(tree, stage)
    used = subprocess.run(["du", "-sm", stage], capture_output=True, text=True, check=True)
    size_mib = int(used.stdout.split()[0]) * 11 // 10 + 16
    _mke2fs(path, size_mib, "-d", stage)


def _mke2fs(path, size_mib, *options):
    program = programs.find_program("mke2fs")
    if not program:
        raise RunnerError("mke2fs is missing: run scripts/setup (Debian package e2fsprogs)")
    # Created beforehand, so that mke2fs leaves holes and writes no zeros.
    with open(path, "wb") as file:
        file.truncate(size_mib << 20)
    command = [program, "-q", "-F", "-t", "ext4", "-m", "0", "-O", "^has_journal",
               "-E", "root_owner=0:0,lazy_itable_init=0", *options, path]
    result = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    if result.returncode != 0:
        raise RunnerError(f"{' '.join(command)} failed: {result.stderr.strip()}")


def root_disk():
    """An empty ext4 disk of this run alone, in a file that no directory names."""
    def make(path, _scratch):
        _mke2fs(path, ROOT_DISK_MIB, "-N", "131072")

    blank = cached_file("blank", key_of([ROOT_DISK_MIB, 131072]), ".ext4", make)
    disk = scratch_file(os.fstat(blank.fileno()).st_size)
    _copy_data(blank.fileno(), disk.fileno())
    blank.close()
    return disk


def _copy_data(source, target):
    """Copies a sparse file's data, and keeps its holes."""
    end = os.fstat(source).st_size
    offset = 0
    while offset < end:
        try:
            offset = os.lseek(source, offset, os.SEEK_DATA)
        except OSError:
            return
        stop = os.lseek(source, offset, os.SEEK_HOLE)
        while offset < stop:
            offset += os.pwrite(target, os.pread(source, min(stop - offset, 1 << 20), offset), offset)


def scratch_file(size):
    """A sparse file that vanishes with its last descriptor, however the runner ends."""
    file = tempfile.TemporaryFile(dir=cache_directory())
    file.truncate(size)
    return file


def copy_of(file):
    """A copy of such a file, which vanishes in the same way."""
    copy = scratch_file(os.fstat(file.fileno()).st_size)
    _copy_data(file.fileno(), copy.fileno())
    return copy


def files_archive(tree):
    """The run's own files, as a disk that the client unpacks."""
    for entry in tree.entries:
        if entry.startswith(("proc/", "sys/", "dev/")):
            raise RunnerError(f"/{entry}: nothing can be brought to /proc, /sys or /dev", EXIT_USAGE)
    disk = scratch_file(0)
    archive.write_tar(tree, disk)
    disk.flush()
    # A disk is whole sectors; what follows an archive's end is ignored.
    disk.truncate((os.fstat(disk.fileno()).st_size + 4095) // 4096 * 4096)
    return disk
