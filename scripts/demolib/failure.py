# SPDX-License-Identifier: GPL-2.0
"""Why the demo ended before its table."""

import signal


class Failure(Exception):
    """An error; the message is one line."""

    def __init__(self, message, status=1):
        super().__init__(message)
        self.status = status


class Stopped(Exception):
    """A signal arrived."""

    def __init__(self, number):
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.status = 128 + number
