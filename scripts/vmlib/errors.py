# SPDX-License-Identifier: GPL-2.0
"""The ways in which a run ends other than by its script's exit status."""

EXIT_USAGE = 2
EXIT_TIMEOUT = 124
EXIT_NOT_UP = 125
EXIT_LOST = 126


class RunnerError(Exception):
    """A run that cannot continue: what happened, to what, and what to do; with the exit status."""

    def __init__(self, message, status=EXIT_NOT_UP):
        super().__init__(message)
        self.status = status


class NotUp(RunnerError):
    """The machines did not come up in the time that a boot may take."""


class Interrupted(Exception):
    """A signal asked the runner to stop."""

    def __init__(self, signal_number):
        super().__init__(f"stopped by signal {signal_number}")
        self.status = 128 + signal_number
