# SPDX-License-Identifier: GPL-2.0
"""Tests of how scripts/profile processes counts: sums, layers, names, reports. The runner's test
instructions_are_counted checks the counts themselves."""

import contextlib
import io
import json
import os
import sys
import tempfile
import unittest

TOP = os.path.normpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
sys.path.insert(0, os.path.join(TOP, "scripts"))
sys.dont_write_bytecode = True

from benchlib import report as bench  # noqa: E402
from profilelib import counts, layers, measure, plugin, report, symbols  # noqa: E402
from profilelib.failure import Failure  # noqa: E402
from profilelib.symbols import Function, Symbols  # noqa: E402

KERNEL = 0xffffffff81000000
QUEUE = Function(layers.BLOCK, "blk_mq_submit_bio")
HANDLE = Function(layers.MODULE, "handle")
SERVE = Function(layers.SERVER, "serve")


def guest():
    """Two kernel functions, and a server's program at 0x7000, its text at 0x1000 of the file."""
    return Symbols({KERNEL: QUEUE, KERNEL + 0x100: HANDLE}, {0x1000: SERVE}, [(0x8000, 0x9000, 0x1000)],
                   [(0xa000, 0xb000)])


class Addresses(unittest.TestCase):
    def test_an_address_belongs_to_the_function_that_begins_before_it(self):
        known = guest()
        self.assertEqual(known.function(KERNEL), QUEUE)
        self.assertEqual(known.function(KERNEL + 0xff), QUEUE)
        self.assertEqual(known.function(KERNEL + 0x100), HANDLE)
        self.assertEqual(known.function(KERNEL - 1).layer, layers.REST)

    def test_programs_are_told_apart_by_where_they_stand(self):
        known = guest()
        self.assertEqual(known.function(0x8000), SERVE)
        self.assertEqual(known.function(0x8fff), SERVE)
        self.assertEqual(known.function(0x9000).layer, layers.FIO)
        self.assertEqual(known.function(0xa000), Function(layers.SERVER, "(vdso)"))

    def test_code_before_the_first_function_of_a_program_is_the_programs(self):
        known = Symbols({}, {0x1800: SERVE}, [(0x8000, 0x9000, 0x1000)], [])
        self.assertEqual(known.function(0x8000), Function(layers.SERVER, "(unknown)"))


class Layers(unittest.TestCase):
    def test_the_object_file_says_the_layer(self):
        for path, layer in (("block/blk-mq.o", layers.BLOCK), ("block/fops.o", layers.CALLS),
                            ("net/packet/af_packet.o", layers.PACKET), ("net/core/dev.o", layers.NETWORK),
                            ("drivers/net/veth.o", layers.DEVICES), ("kernel/sched/core.o", layers.SCHEDULER),
                            ("mm/slub.o", layers.MEMORY), ("mm/gup.o", layers.CALLS),
                            ("arch/x86/lib/memcpy_64.o", layers.LIBRARY), ("drivers/acpi/bus.o", layers.REST),
                            (None, layers.REST)):
            self.assertEqual(layers.of_kernel("function", path), layer, path)

    def test_every_layer_has_its_place_in_a_report(self):
        named = {value for name, value in vars(layers).items() if name.isupper() and isinstance(value, str)}
        self.assertEqual(named, set(layers.ORDER))

    def test_entry_code_of_interrupts_is_no_system_call(self):
        path = "arch/x86/entry/entry_64.o"
        self.assertEqual(layers.of_kernel("entry_SYSCALL_64", path), layers.CALLS)
        self.assertEqual(layers.of_kernel("asm_sysvec_call_function_single", path), layers.SCHEDULER)

    def test_a_name_that_several_objects_define_is_its_neighbours(self):
        table = [(1, "T", "first_net"), (2, "t", "init_once"), (3, "T", "last_net"),
                 (4, "T", "first_mm"), (5, "t", "init_once"), (6, "t", "__pfx_init_once")]
        objects = {"first_net": {"net/a.o"}, "last_net": {"net/a.o"}, "first_mm": {"mm/b.o"},
                   "init_once": {"net/a.o", "mm/b.o", "fs/c.o"}}
        placed = symbols.place(table, objects)
        self.assertEqual(placed[2], Function(layers.NETWORK, "init_once"))
        self.assertEqual(placed[5], Function(layers.MEMORY, "init_once"))
        self.assertNotIn(6, placed)

    def test_of_several_names_the_plain_one_is_shown(self):
        placed = symbols.place([(1, "T", "__pi_memcpy"), (1, "T", "memcpy"), (1, "T", "__memcpy")],
                               {"memcpy": {"arch/x86/lib/memcpy_64.o"}})
        self.assertEqual(placed[1], Function(layers.LIBRARY, "memcpy"))


class Counts(unittest.TestCase):
    def test_an_operation_is_the_difference_of_the_runs(self):
        short = counts.by_function(counts.read([f"0 {KERNEL:x} 500", f"1 {0x8000:x} 70"]), guest(), 2)
        long = counts.by_function(counts.read([f"0 {KERNEL:x} 900", f"0 {KERNEL + 8:x} 100", f"1 {0x8000:x} 470"]),
                                  guest(), 2)
        self.assertEqual(counts.an_operation(short, long, 10),
                         {("client", QUEUE): 50.0, ("servers", SERVE): 40.0})

    def test_one_processor_has_no_sides(self):
        one = counts.by_function(counts.read([f"0 {KERNEL:x} 5", f"0 {0x8000:x} 7"]), guest(), 1)
        self.assertEqual(one, {(None, QUEUE): 5, (None, SERVE): 7})

    def test_what_runs_in_the_short_run_only_is_not_lost(self):
        self.assertEqual(counts.an_operation({("client", QUEUE): 8}, {}, 4), {("client", QUEUE): -2.0})

    def test_a_missing_mark_is_noticed(self):
        with tempfile.TemporaryDirectory() as directory:
            for number in range(2):
                with open(os.path.join(directory, f"counts.{number}"), "w", encoding="ascii"):
                    pass
            with self.assertRaisesRegex(Failure, "2 files of counts, 3 awaited"):
                counts.of_jobs(directory, 1, 1, guest(), 2, 100)

    def test_each_job_has_its_own_files(self):
        with tempfile.TemporaryDirectory() as directory:
            for number, instructions in enumerate((9000, 10, 110, 210, 9000, 20, 520, 620)):
                with open(os.path.join(directory, f"counts.{number}"), "w", encoding="ascii") as file:
                    file.write(f"0 {KERNEL:x} {instructions}\n")
            first, second = counts.of_jobs(directory, 2, 2, guest(), 2, 100)
        self.assertEqual(first, [{("client", QUEUE): 1.0}, {("client", QUEUE): 2.0}])
        self.assertEqual(second, [{("client", QUEUE): 5.0}, {("client", QUEUE): 6.0}])

    def test_the_mean_counts_runs_in_which_a_function_did_not_run(self):
        self.assertEqual(counts.mean([{"a": 1.0, "b": 4.0}, {"a": 3.0}]), {"a": 2.0, "b": 2.0})


class Guest(unittest.TestCase):
    def test_its_lines_are_understood_and_others_passed_on(self):
        begun, passed = [], io.StringIO()
        lines = ["job randread:16\n", "time randread:16 30100\n", f"symbol {KERNEL:x} t _RNv3foo anemone\n",
                 "code 8000 9000 1000\n", "vdso a000 b000\n", "failed: frames were lost\n"]
        with contextlib.redirect_stderr(passed):
            found = measure.understand(lines, begun.append)
        self.assertEqual(begun, ["randread:16"])
        self.assertEqual(found.times, {"randread:16": 30100})
        self.assertEqual(found.modules, [(KERNEL, "_RNv3foo", "anemone")])
        self.assertEqual((found.code, found.vdso), ([(0x8000, 0x9000, 0x1000)], [(0xa000, 0xb000)]))
        self.assertEqual(passed.getvalue(), "failed: frames were lost\n")


class Names(unittest.TestCase):
    def test_hashes_go(self):
        self.assertEqual(symbols.demangled(["_RNvC7mycrate3foo", "plain"]), ["mycrate::foo", "plain"])
        self.assertEqual(symbols.demangled(["_RNvCs7vgE24dg4Wp_7mycrate3foo"]), ["mycrate::foo"])

    def test_generic_arguments_go(self):
        for name, awaited in (
                ("<anemone_main::engine::client::shard::Shard<anemone_main::driver::Storage>>::end", "<engine::client::shard::Shard>::end"),
                ("<anemone_main::a::Shard<X<Y>>>::find::<fn(u8) -> u8, Z<W>>", "<a::Shard>::find"),
                ("anemone::engine::server::store::write::<impl anemone::engine::server::store::Store<M>>::write",
                 "engine::server::store::write::<impl engine::server::store::Store>::write"),
                ("blk_mq_submit_bio", "blk_mq_submit_bio")):
            self.assertEqual(report.short(name), awaited)


class Reports(unittest.TestCase):
    SETTINGS = {"mtu": 1500, "processors": 2, "count": 100}

    def document(self, **changes):
        costs = {("client", QUEUE): 1500.04, ("client", HANDLE): 5000.0, ("servers", SERVE): 1700.0,
                 ("servers", QUEUE): -0.04, **changes.get("costs", {})}
        more = {**costs, ("client", HANDLE): costs["client", HANDLE] + 20}
        less = {**costs, ("client", HANDLE): costs["client", HANDLE] - 20}
        result = measure.Result(measure.Job("page-in", 1), 40100, [costs, more, less])
        return report.document([result], self.SETTINGS)

    def test_layers_and_sides_add_up(self):
        operation = self.document()["operations"][0]
        self.assertEqual(operation["instructions"], {"client": 6500.0, "servers": 1700.0})
        self.assertEqual(operation["layers"][layers.BLOCK], {"client": 1500.0, "servers": 0.0})
        self.assertEqual([row["function"] for row in operation["functions"]], ["handle", "serve", QUEUE.name])
        self.assertEqual(operation["counted_ns"], 40100)

    def test_a_person_reads_the_same_figures(self):
        lines = report.text(self.document(), 2)
        self.assertEqual(lines[0], "page-in, depth 1, MTU 1500: 8,200 instructions an operation: client 6,500, servers 1,700")
        self.assertEqual(lines[1], "(3 runs, of 8,180 to 8,220)")
        rows = {line[:report.NAME_WIDTH].strip(): line[report.NAME_WIDTH:].split() for line in lines[2:]}
        self.assertEqual(rows["all"], ["6,500", "1,700", "8,200"])
        self.assertEqual(rows["block layer"], ["1,500", "0", "1,500"])
        self.assertEqual(rows["(1 more)"], ["1,500", "0", "1,500"])

    def test_one_processor_has_one_column(self):
        result = measure.Result(measure.Job("page-out", 16), 1, [{(None, SERVE): 12.0}])
        lines = report.text(report.document([result], {"mtu": 9000}), 5)
        self.assertEqual(lines[0], "page-out, depth 16, MTU 9000: 12 instructions an operation")
        self.assertEqual(lines[2].split(), ["layer", "both"])

    def test_a_comparison_names_what_has_changed_and_nothing_else(self):
        after = self.document(costs={("client", HANDLE): 4500.0, ("servers", SERVE): 1700.4})
        lines = report.comparison(self.document(), after, 10)
        self.assertEqual(lines[0], "page-in, depth 1: 8,200 to 7,700 instructions, -6.09%")
        self.assertIn("       -500  module", lines)
        self.assertIn("       -500  handle (module)", lines)
        self.assertFalse([line for line in lines if "serve (" in line or "block layer" in line])

    def test_an_operation_that_was_not_measured_before_is_left_out(self):
        other = report.document([measure.Result(measure.Job("page-in", 4), 1, [{("client", QUEUE): 1.0}])], {})
        self.assertEqual(report.comparison(other, self.document(), 10), [])


class Bench(unittest.TestCase):
    def test_it_shows_what_each_side_spends(self):
        result = measure.Result(measure.Job("page-in", 16), 30100, [{("client", QUEUE): 1234.0, ("servers", SERVE): 567.0}])
        with tempfile.TemporaryDirectory() as directory:
            path = os.path.join(directory, "profile.json")
            with open(path, "w", encoding="utf-8") as file:
                json.dump(report.document([result], {"mtu": 9000}), file)
            shown = io.StringIO()
            with contextlib.redirect_stdout(shown):
                rows = bench.two_processors([path])
        self.assertEqual(rows, [{"mtu": 9000, "operation": "page-in", "depth": 16, "counted_us": 30.1,
                                 "budget_us": 18, "client_instructions": 1234.0, "servers_instructions": 567.0}])
        self.assertIn("9000 page-in 16 30.1 18 1,234 567 over", " ".join(shown.getvalue().split()))


class Plugin(unittest.TestCase):
    def test_the_interface_that_each_qemu_accepts(self):
        for version, awaited in (("QEMU emulator version 7.2.22 (Debian 1:7.2)", 1), ("QEMU emulator version 8.2.0", 1),
                                 ("QEMU emulator version 9.0.2", 2), ("QEMU emulator version 10.0.2", 2)):
            self.assertEqual(plugin.interface(version), awaited)
        with self.assertRaisesRegex(Failure, "too old"):
            plugin.interface("QEMU emulator version 5.2.0")
        with self.assertRaisesRegex(Failure, "cannot be read"):
            plugin.interface("something else")

    def test_a_comma_in_a_path_is_doubled(self):
        self.assertEqual(plugin.option("/a,b/count.so", "/a,b/counts", 0xffffffff812dadb0),
                         "/a,,b/count.so,out=/a,,b/counts,mark=ffffffff812dadb0")


if __name__ == "__main__":
    unittest.main()
