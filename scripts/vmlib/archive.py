# SPDX-License-Identifier: GPL-2.0
"""Archives that a guest unpacks: cpio (newc) for the kernel, tar for its root file system.

Both are written without root: device nodes and owners exist only inside the archive.
"""

import io
import os
import stat
import tarfile


class Tree:
    """The files of a guest, by their path there: directories, links, and files from the host."""

    def __init__(self):
        self.entries = {}

    def directory(self, path, mode=0o755):
        self._add(path, (stat.S_IFDIR | mode, None, 0))

    def link(self, path, target):
        self._add(path, (stat.S_IFLNK | 0o777, target.encode(), 0))

    def node(self, path, mode, major, minor):
        """A device node; `mode` holds its type."""
        self._add(path, (mode, None, os.makedev(major, minor)))

    def text(self, path, text, mode=0o644):
        self._add(path, (stat.S_IFREG | mode, text.encode(), 0))

    def file(self, path, host_path, mode=None):
        """A file of the host; its permissions are kept unless `mode` says otherwise."""
        if mode is None:
            mode = stat.S_IMODE(os.stat(host_path).st_mode)
        self._add(path, (stat.S_IFREG | mode, HostFile(host_path), 0))

    def _add(self, path, entry):
        path = path.strip("/")
        parent = os.path.dirname(path)
        if parent and parent not in self.entries:
            self.directory(parent)
        self.entries[path] = entry

    def __contains__(self, path):
        return path.strip("/") in self.entries


class HostFile:
    """Content that is read from the host only when the archive is written."""

    def __init__(self, path):
        self.path = path

    def open(self):
        return open(self.path, "rb")


def _content(data):
    if data is None:
        return b""
    if isinstance(data, HostFile):
        with data.open() as source:
            return source.read()
    return data


def write_cpio(tree, output):
    """Writes `tree` in the kernel's initramfs format."""
    names = sorted(tree.entries)
    for inode, name in enumerate([*names, "TRAILER!!!"], start=1):
        mode, data, device = tree.entries.get(name, (0, None, 0))
        body = _content(data)
        encoded = name.encode() + b"\0"
        fields = (inode, mode, 0, 0, 1, 0, len(body), 0, 0,
                  os.major(device), os.minor(device), len(encoded), 0)
        header = b"070701" + b"".join(b"%08X" % field for field in fields) + encoded
        output.write(header + bytes(-len(header) % 4))
        output.write(body)
        output.write(bytes(-len(body) % 4))


# The guest's /bin, /sbin, /usr/sbin, /lib and /lib64 are links into /usr: what is unpacked there
# must go where the link points, or it would take the link's place.
MERGED = (("usr/sbin/", "usr/bin/"), ("bin/", "usr/bin/"), ("sbin/", "usr/bin/"),
          ("lib/", "usr/lib/"), ("lib64/", "usr/lib64/"))


def merged(path):
    """`path` where it stands once /bin, /sbin, /lib and /lib64 are links into /usr."""
    path = path.strip("/")
    for old, new in MERGED:
        if path.startswith(old):
            return new + path[len(old):]
    return path


def write_tar(tree, output):
    """Writes `tree` as a tar archive, in order, so that directories come before what they hold."""
    with tarfile.open(fileobj=output, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name in sorted(tree.entries):
            mode, data, _ = tree.entries[name]
            info = tarfile.TarInfo(name)
            info.mode = stat.S_IMODE(mode)
            if stat.S_ISDIR(mode):
                info.type = tarfile.DIRTYPE
                archive.addfile(info)
            elif stat.S_ISLNK(mode):
                info.type = tarfile.SYMTYPE
                info.linkname = data.decode()
                archive.addfile(info)
            elif isinstance(data, HostFile):
                with data.open() as source:
                    info.size = os.fstat(source.fileno()).st_size
                    archive.addfile(info, source)
            else:
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))


def write_directory(tree, root):
    """Lays `tree` out under the directory `root` (no device nodes: they would need root)."""
    for name in sorted(tree.entries):
        mode, data, _ = tree.entries[name]
        path = os.path.join(root, name)
        if stat.S_ISDIR(mode):
            os.makedirs(path, exist_ok=True)
        elif stat.S_ISLNK(mode):
            os.symlink(data.decode(), path)
        else:
            with open(path, "wb") as output:
                output.write(_content(data))
            os.chmod(path, stat.S_IMODE(mode))
