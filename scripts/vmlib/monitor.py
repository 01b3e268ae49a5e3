# SPDX-License-Identifier: GPL-2.0
"""QEMU's machine protocol (QMP): one command at a time, each with a bounded wait."""

import json

from .errors import RunnerError


class Monitor:
    """The control connection of one QEMU."""

    def __init__(self, name, connection, timeout_s=30):
        self._name = name
        self._connection = connection
        self._connection.settimeout(timeout_s)
        self._pending = b""
        self._greeted = False

    def command(self, execute, **arguments):
        """Sends a command and waits for its answer. Events in between are skipped."""
        try:
            if not self._greeted:
                self._read()
                self._exchange("qmp_capabilities", {})
                self._greeted = True
            return self._exchange(execute, arguments)
        except OSError as error:
            raise RunnerError(f"{self._name}: QEMU does not answer {execute}: {error}") from error

    def _exchange(self, execute, arguments):
        request = {"execute": execute, "arguments": arguments}
        self._connection.sendall(json.dumps(request).encode() + b"\n")
        while True:
            answer = self._read()
            if "error" in answer:
                raise RunnerError(f"{self._name}: QEMU refused {execute}: {answer['error']['desc']}")
            if "return" in answer:
                return answer["return"]

    def _read(self):
        while b"\n" not in self._pending:
            data = self._connection.recv(65536)
            if not data:
                raise ConnectionError("the connection is closed")
            self._pending += data
        line, _, self._pending = self._pending.partition(b"\n")
        return json.loads(line)

    def close(self):
        self._connection.close()
