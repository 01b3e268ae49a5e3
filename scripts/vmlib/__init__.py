# SPDX-License-Identifier: GPL-2.0
"""What scripts/vm is made of: it boots the machines of one private Ethernet segment in QEMU."""
