# SPDX-License-Identifier: GPL-2.0
"""Tests of how scripts/test parses a kernel test's header: its kind of machine, and its own options."""

import os
import sys
import tempfile
import unittest

TOP = os.path.normpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
sys.path.insert(0, os.path.join(TOP, "scripts"))
sys.dont_write_bytecode = True

from testlib import kernel_tests, machines  # noqa: E402
from vmlib.errors import EXIT_USAGE, RunnerError  # noqa: E402

KINDS = {"small": ["--servers", "2", "--client-mem", "64"], "tools": ["--single", "--file", "build/anemone-test"]}


class Machines(unittest.TestCase):
    def written(self, text):
        """The path of a file with this text."""
        file = tempfile.NamedTemporaryFile("w", suffix=".sh", encoding="utf-8", delete=False)
        self.addCleanup(os.unlink, file.name)
        with file:
            file.write(text)
        return file.name

    def read(self, header):
        return kernel_tests.read(self.written(f"#!/bin/sh\n{header}echo\n"), KINDS)

    def refused(self, action, *words):
        with self.assertRaises(RunnerError) as caught:
            action()
        self.assertEqual(caught.exception.status, EXIT_USAGE)
        for word in words:
            self.assertIn(word, str(caught.exception))

    def test_the_kind_says_the_options(self):
        test = self.read("# machine: small\n")
        self.assertEqual(test.options, ("--servers", "2", "--client-mem", "64"))
        self.assertEqual(test.files, ("tests/vm/common.sh",))

    def test_what_a_test_adds_comes_last_and_files_are_not_options(self):
        test = self.read("# machine: tools\n# vm: --client-mem 96 --file tests/vm/disk.sh\n")
        self.assertEqual(test.options, ("--single", "--client-mem", "96"))
        self.assertEqual(test.files, ("tests/vm/common.sh", "build/anemone-test", "tests/vm/disk.sh"))

    def test_an_unknown_kind_is_refused_with_those_that_there_are(self):
        self.refused(lambda: self.read("# machine: smal\n"), "smal`", "small, tools")

    def test_options_without_a_kind_are_refused(self):
        self.refused(lambda: self.read("# vm: --servers 2\n"), "no `# machine:`", "small, tools")

    def test_a_file_that_is_not_named_is_refused(self):
        self.refused(lambda: self.read("# machine: small\n# vm: --file\n"), "--file")

    def test_the_file_of_kinds(self):
        path = self.written("# small ones\nsmall  --servers 2 --kernel-parameter 'a b'\n\nnone\n")
        self.assertEqual(machines.kinds(path), {"small": ["--servers", "2", "--kernel-parameter", "a b"], "none": []})
        self.refused(lambda: machines.kinds(self.written("a --single\nb\na\n")), ":3: a ")

    def test_every_kind_is_used_and_every_test_has_one(self):
        paths = [os.path.join(kernel_tests.DIRECTORY, "chaos.sh"), *(test.path for test in kernel_tests.found(""))]
        named = {machines.header(path).get("machine") for path in paths}
        self.assertEqual(named, set(machines.kinds()))

    def test_every_test_says_whether_the_debug_kernel_runs_it(self):
        for test in kernel_tests.found(""):
            self.assertRegex(machines.header(test.path).get("debug", ""), "^(yes|no, .+)$", test.name)


if __name__ == "__main__":
    unittest.main()
