# SPDX-License-Identifier: GPL-2.0
"""The way in which a profile ends otherwise than by its figures."""

EXIT_FAILED = 1
EXIT_USAGE = 2


class Failure(Exception):
    """A profile that cannot be made: what is wrong, and what to do; with the exit status."""

    def __init__(self, message, status=EXIT_FAILED):
        super().__init__(message)
        self.status = status
