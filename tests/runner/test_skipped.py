# SPDX-License-Identifier: GPL-2.0
"""Tests of how scripts/test counts a test of cargo that cannot run here."""

import os
import re
import sys
import unittest

TOP = os.path.normpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
sys.path.insert(0, os.path.join(TOP, "scripts"))
sys.dont_write_bytecode = True

from testlib import host_tests  # noqa: E402


class Recorder:
    """A report that only keeps what it is given."""

    def __init__(self):
        self.results = []

    def passed(self, name, _seconds):
        self.results.append(("ok", name, ""))

    def skipped(self, name, why):
        self.results.append(("skip", name, why))

    def failed(self, name, _seconds, why, _log=None):
        self.results.append(("FAIL", name, why))


class Skipped(unittest.TestCase):
    def setUp(self):
        # The file of the scripts/test that may run this test is in use.
        host_tests.SKIPPED = host_tests.log_path("test_skipped-skipped")
        host_tests.ENVIRONMENT["ANEMONE_SKIPPED"] = host_tests.SKIPPED

    def results(self, script, understand):
        recorder = Recorder()
        host_tests._follow(recorder, "test_skipped", ["sh", "-c", script], understand, re.compile(""))
        os.unlink(host_tests.SKIPPED)
        return recorder.results

    def test_a_skipped_test_does_not_count_as_passed(self):
        lines = """
            echo '        PASS [   0.1s] (1/3) anemone::server_program one'
            echo 'two: no network' >>"$ANEMONE_SKIPPED"
            echo '        PASS [   0.1s] (2/3) anemone::server_program two'
            echo '        PASS [   0.1s] (3/3) anemone::server_program not_two'"""
        self.assertEqual(self.results(lines, host_tests._nextest), [
            ("ok", "test_skipped:anemone::server_program::one", ""),
            ("skip", "test_skipped:anemone::server_program::two", "no network"),
            ("ok", "test_skipped:anemone::server_program::not_two", "")])

    def test_cargo_without_nextest(self):
        lines = """
            echo 'two: no network' >>"$ANEMONE_SKIPPED"
            echo 'test one ... ok'
            echo 'test two ... ok'"""
        self.assertEqual(self.results(lines, host_tests._cargo), [
            ("ok", "test_skipped:one", ""), ("skip", "test_skipped:two", "no network")])

    def test_a_test_that_fails_after_it_was_skipped_is_a_failure(self):
        lines = """
            echo 'one: no network' >>"$ANEMONE_SKIPPED"
            echo 'test one ... FAILED'"""
        self.assertEqual(self.results(lines, host_tests._cargo), [("FAIL", "test_skipped:one", "FAILED")])


if __name__ == "__main__":
    unittest.main()
