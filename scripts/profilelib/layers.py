# SPDX-License-Identifier: GPL-2.0
"""To which layer an instruction belongs: by the object file that its function stands in."""

FIO = "fio"
SERVER = "server program"
MODULE = "module"
OTHER_MODULES = "other modules"
BLOCK = "block layer"
CALLS = "system calls, io_uring"
PACKET = "packet socket"
NETWORK = "network stack"
DEVICES = "virtual Ethernet"
SCHEDULER = "scheduler, interrupts"
MEMORY = "memory management"
LIBRARY = "copies, checksums, lists"
REST = "rest of the kernel"

# In the order of a report: the path of a page-in, from the program to the server and back.
ORDER = (FIO, CALLS, BLOCK, MODULE, NETWORK, DEVICES, PACKET, SERVER, SCHEDULER, MEMORY, LIBRARY,
         OTHER_MODULES, REST)

# The first prefix of the object file's path that matches determines the layer.
_PATHS = (
    ("block/fops.o", CALLS), ("block/", BLOCK), ("drivers/block/", BLOCK), ("lib/sbitmap.o", BLOCK),
    ("net/packet/", PACKET), ("net/", NETWORK), ("drivers/net/", DEVICES),
    ("lib/iov_iter.o", CALLS), ("io_uring/", CALLS), ("fs/", CALLS), ("arch/x86/entry/", CALLS),
    ("mm/gup.o", CALLS),
    ("kernel/", SCHEDULER), ("arch/x86/kernel/", SCHEDULER), ("drivers/cpuidle/", SCHEDULER),
    ("mm/", MEMORY), ("arch/x86/mm/", MEMORY),
    ("lib/", LIBRARY), ("arch/x86/lib/", LIBRARY), ("arch/x86/crypto/", LIBRARY), ("crypto/", LIBRARY),
    ("rust/", LIBRARY),
)
# The entry code of interrupts and exceptions is in the same object as that of system calls.
_INTERRUPTS = ("asm_", "sysvec_", "common_interrupt", "error_entry", "error_return", "exc_", "irqentry_")


def of_kernel(function, path):
    """The layer of a function that is built into the kernel; `path` is None if its object is unknown."""
    if function.startswith(_INTERRUPTS):
        return SCHEDULER
    if path is None:
        return REST
    # Architecture code has directories of its own for some of these.
    for beginning, layer in _PATHS:
        if path.startswith(beginning):
            return layer
    return REST


def of_module(name):
    """The layer of a function in the loaded module `name`."""
    if name == "anemone":
        return MODULE
    return BLOCK if name == "brd" else OTHER_MODULES
