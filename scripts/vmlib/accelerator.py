# SPDX-License-Identifier: GPL-2.0
"""Selects QEMU's accelerator: KVM only if a kernel has booted under it."""

import os
import subprocess

from .cache import cache_directory, identity, key_of
from .errors import EXIT_USAGE, RunnerError
from .machine import die_with, qemu_program

# On some machines /dev/kvm can be opened, and a guest still hangs before its first line. A boot that has not answered
# after this time never will.
PROBE_S = 10
PROBE_MARK = b"anemone-vm: ready"


def arguments(choice, icount, initramfs, kernel):
    """QEMU's options for `choice` (auto, tcg or kvm)."""
    if icount:
        # Guest time is a count of instructions: the CPU model and the seed are part of the figure.
        return ["-accel", "tcg,thread=single", "-icount", "shift=0,sleep=off", "-cpu", "max,-erms",
                "-rtc", "base=2024-01-01,clock=vm", "-seed", "1"]
    if choice == "kvm" or (choice == "auto" and _kvm_works(initramfs, kernel)):
        if not os.access("/dev/kvm", os.R_OK | os.W_OK):
            raise RunnerError("--accel kvm: /dev/kvm cannot be opened; use --accel tcg", EXIT_USAGE)
        return ["-accel", "kvm", "-cpu", "host"]
    return ["-accel", "tcg,thread=multi", "-cpu", "max,-erms"]


def _kvm_works(initramfs, kernel):
    """Boots a server's initramfs under KVM. The result is valid until the host is rebooted."""
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return False
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        boot = file.read().strip()
    path = os.path.join(cache_directory(), f"kvm-{key_of([boot, identity(qemu_program())])}")
    if not os.path.exists(path):
        answer = "yes" if _probe(initramfs, kernel) else "no"
        with open(path, "w", encoding="ascii") as file:
            file.write(answer)
        return answer == "yes"
    with open(path, encoding="ascii") as file:
        return file.read() == "yes"


def _probe(initramfs, kernel):
    command = [qemu_program(), "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
               "-accel", "kvm", "-cpu", "host", "-m", "256M", "-serial", "stdio", "-kernel", kernel,
               "-initrd", f"/proc/self/fd/{initramfs.fileno()}",
               "-append", "console=ttyS0 quiet panic=-1 VM_PROBE=1"]
    runner = os.getpid()
    try:
        result = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, timeout=PROBE_S,
                                pass_fds=[initramfs.fileno()], start_new_session=True, check=False,
                                preexec_fn=lambda: die_with(runner))
    except subprocess.TimeoutExpired:
        return False
    return PROBE_MARK in result.stdout
