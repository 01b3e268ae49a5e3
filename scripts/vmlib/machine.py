# SPDX-License-Identifier: GPL-2.0
"""One virtual machine: its QEMU command line, its process, and the lines to and from it.

Everything that QEMU is given is an inherited descriptor (socket pairs, memory files, nameless disk
files), so that nothing is left behind in the file system, whatever ends the runner.
"""

import ctypes
import dataclasses
import os
import signal
import socket
import subprocess

from .errors import RunnerError
from .loop import Stream, by_lines
from .monitor import Monitor
from .programs import find_program

_LIBC = ctypes.CDLL(None, use_errno=True)
_PR_SET_PDEATHSIG = 1


@dataclasses.dataclass
class Disk:
    """A virtio disk on an open file; `serial` is the name that the guest finds it by."""

    serial: str
    file: object
    read_only: bool = False
    throttle: str = ""
    _reader: object = None

    def descriptors(self):
        """QEMU reads a disk through one descriptor and writes it through another."""
        if self._reader is None:
            self._reader = open(f"/proc/self/fd/{self.file.fileno()}", "rb")
        writer = [] if self.read_only else [self.file.fileno()]
        return [self._reader.fileno(), *writer]


@dataclasses.dataclass
class Specification:
    """The parts of a machine."""

    name: str
    kernel: str
    initramfs: object
    memory_mib: int
    cpus: int
    accelerator: list
    append: str
    board: str = "pc"
    disks: list = dataclasses.field(default_factory=list)
    # Arguments of the network, and the sockets that they name.
    network: list = dataclasses.field(default_factory=list)
    # Whether it has a generation number, which changes each time it is rolled back to a snapshot.
    generation: bool = False
    # What its firmware states.
    uuid: str | None = None
    sockets: list = dataclasses.field(default_factory=list)


class Machine:
    """A machine that can be started, killed and started again."""

    def __init__(self, loop, specification, console, channels, on_exit):
        """`channels` maps names to consumers of bytes: `serial` is ttyS1, others virtio ports."""
        self.specification = specification
        self.name = specification.name
        self.console = console
        self.monitor = None
        self._loop = loop
        self._channels = channels
        self._on_exit = on_exit
        self._process = None
        self._pidfd = -1
        self._streams = {}

    @property
    def running(self):
        return self._process is not None

    def start(self, incoming=None):
        """Boots it, or resumes it at a snapshot. Its output goes to the channels."""
        chardevs, inherited = [], []

        def pair(name):
            ours, theirs = socket.socketpair()
            inherited.append(theirs)
            chardevs.extend(["-chardev", f"socket,id={name},fd={theirs.fileno()}"])
            return ours

        consumers = {"console": by_lines(self.console.add), **self._channels}
        for name, consumer in consumers.items():
            self._streams[name] = Stream(self._loop, pair(name), consumer)
        self.monitor = Monitor(self.name, pair("monitor"))
        command = [*self._fixed_arguments(), *chardevs, *self._channel_arguments()]
        if incoming:
            command += ["-incoming", incoming]
        errors_read, errors_write = os.pipe()
        files = [self.specification.initramfs.fileno(),
                 *(number for disk in self.specification.disks for number in disk.descriptors()),
                 *(end.fileno() for end in self.specification.sockets),
                 *(end.fileno() for end in inherited)]
        runner = os.getpid()
        self._process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=errors_write, stderr=errors_write,
            pass_fds=files, start_new_session=True, preexec_fn=lambda: die_with(runner))
        os.close(errors_write)
        for end in inherited:
            end.close()
        self._watch_errors(errors_read)
        self._pidfd = os.pidfd_open(self._process.pid)
        self._loop.watch(self._pidfd, self._ended)

    def _watch_errors(self, descriptor):
        """QEMU's own messages belong to the console's log."""
        consume = by_lines(lambda line: self.console.add(f"qemu: {line}"))

        def readable():
            data = os.read(descriptor, 65536)
            if data:
                consume(data)
            else:
                self._loop.forget(descriptor)
                os.close(descriptor)

        self._loop.watch(descriptor, readable)

    def _fixed_arguments(self):
        wanted = self.specification
        arguments = [
            qemu_program(), "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
            "-name", f"anemone-{wanted.name}", "-machine", f"{wanted.board},usb=off,vmport=off", *wanted.accelerator,
            "-m", f"{wanted.memory_mib}M", "-smp", str(wanted.cpus),
            "-kernel", wanted.kernel, "-initrd", f"/proc/self/fd/{wanted.initramfs.fileno()}",
            "-append", wanted.append]
        for index, disk in enumerate(wanted.disks):
            arguments += _disk_arguments(index, disk)
        if wanted.uuid:
            arguments += ["-uuid", wanted.uuid]
        if wanted.generation:
            arguments += ["-device", "vmgenid,guid=auto"]
        return arguments + wanted.network

    def _channel_arguments(self):
        arguments = ["-mon", "chardev=monitor,mode=control", "-serial", "chardev:console"]
        ports = [name for name in self._channels if name != "serial"]
        if "serial" in self._channels:
            arguments += ["-serial", "chardev:serial"]
        if ports:
            arguments += ["-device", "virtio-serial-pci"]
        for name in ports:
            arguments += ["-device", f"virtserialport,chardev={name},name={name}"]
        return arguments

    def send_line(self, channel, line):
        if channel in self._streams:
            self._streams[channel].send_line(line)

    def kill(self):
        """Cuts its power; returns when it is gone."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._reap()

    def _ended(self):
        status = self._reap()
        self._on_exit(self, status)

    def _reap(self):
        status = self._process.wait()
        self._process = None
        self._loop.forget(self._pidfd)
        os.close(self._pidfd)
        for stream in self._streams.values():
            stream.drain()
            stream.close()
        self._streams = {}
        self.monitor.close()
        return status


def qemu_program():
    path = find_program("qemu-system-x86_64")
    if not path:
        raise RunnerError("qemu-system-x86_64 is missing: run scripts/setup (Debian package qemu-system-x86)")
    return path


def _disk_arguments(index, disk):
    # QEMU takes an open file only through a set of descriptors.
    sets = [word for number in disk.descriptors() for word in ("-add-fd", f"fd={number},set={index}")]
    drive = f"if=none,id=disk{index},format=raw,file=/dev/fdset/{index},cache=unsafe,file.locking=off"
    if disk.read_only:
        drive += ",read-only=on"
    if disk.throttle:
        drive += f",{disk.throttle}"
    return [*sets, "-drive", drive,
            "-device", f"virtio-blk-pci,drive=disk{index},serial={disk.serial}"]


def die_with(runner):
    """In the new process: the kernel kills it when the runner dies, however that happens."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != runner:
        os._exit(1)
