# SPDX-License-Identifier: GPL-2.0
"""What scripts/profile is made of: exact counts of a VM's instructions, by function, layer and processor."""
