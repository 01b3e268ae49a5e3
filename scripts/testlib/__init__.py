# SPDX-License-Identifier: GPL-2.0
"""What scripts/test is made of."""
