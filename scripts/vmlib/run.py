# SPDX-License-Identifier: GPL-2.0
"""One run: it assembles and boots the machines, runs the script, and removes everything."""

import os
import secrets
import shlex
import sys

from . import accelerator, archive, images, products, programs
from .console import Console
from .errors import EXIT_LOST, EXIT_NOT_UP, EXIT_TIMEOUT, EXIT_USAGE, NotUp, RunnerError
from .host_port import HostPort
from .loop import Loop, by_lines, write_all
from .machine import Disk, Machine, Specification
from .output import Output
from .segment import Cable, client_network, mac, server_network
from .servers import ServerMachine, ServerProcess
from .snapshot import Snapshots

# The memory of a server VM beside its pages: kernel, initramfs, the program and its index.
SERVER_OVERHEAD_MIB = 120
# The memory that the debug kernel itself needs.
DEBUG_OVERHEAD_MIB = 320
DEBUG_LEAST_MIB = 384
# The other board's firmware has a loop in its interrupt table, on which the debug kernel spends half a minute for each
# device before it gives up.
DEBUG_BOARD = "q35"
# How long to wait for the last messages of a dying kernel.
LAST_WORDS_S = 1
APPEND = ("console=ttyS0 quiet panic=-1 oops=panic mitigations=off nokaslr random.trust_cpu=on no_timer_check "
          "rootfstype=ramfs dummy.numdummies=0 ifb.numifbs=0")
GUEST_PATH = "/root:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
LIBRARY = "/etc/anemone/anemone.sh"


class Run:
    """A run of one script; `execute` returns its exit status."""

    def __init__(self, options):
        self._options = options
        self._loop = Loop()
        self._machines = []
        self._servers = {}
        self._client = None
        self._booted = False
        self._mark = secrets.token_hex(16)
        self._output = Output(self._mark, lambda data: write_all(1, data))
        self._snapshots = None
        self._host_port = HostPort(self._loop, self._servers, lambda answer: self._client.send_line("serial", answer),
                                   lambda: self._snapshots)
        self._up = False
        self._panics = {}
        self._accelerator = None

    def execute(self):
        """Boots, runs, and reports. In any case, no machine is left."""
        try:
            self._assemble()
            self._boot()
            self._client.send_line("ctl", f"run {self._mark}")
            self._loop.after(self._options.timeout, self._timed_out)
            self._loop.run_until(lambda: self._output.status is not None)
            return self._output.status
        finally:
            self._take_down()

    def report(self, error, word="error"):
        """Prints why the run ended, with the last lines of the client's console."""
        sys.stdout.flush()
        if error.status in (EXIT_TIMEOUT, EXIT_NOT_UP, EXIT_LOST) and not self._options.console:
            for machine in self._machines:
                if machine is self._client or machine.name in str(error):
                    lines = machine.console.tail()
                    print(f"--- the last lines of the console of {machine.name}", file=sys.stderr)
                    print("\n".join(lines) if lines else "(nothing)", file=sys.stderr)
        print(f"vm: {word}: {error}", file=sys.stderr)

    # Putting together

    def _assemble(self):
        options = self._options
        kernel_tree = products.kernel_tree(options.kernel)
        bare = images.initramfs("server.sh", self._server_programs())
        kernel = products.kernel_image(products.kernel_tree("release"))
        self._accelerator = accelerator.arguments(options.accel, False, bare, kernel)
        cables = [] if options.single else [Cable(number) for number in self._numbers()]
        self._client = self._machine(Specification(
            name="client", kernel=products.kernel_image(kernel_tree),
            initramfs=images.initramfs("client-boot.sh"), memory_mib=self._client_memory(),
            cpus=options.client_cpus,
            accelerator=[*accelerator.arguments(options.accel, options.icount, bare, kernel),
                         *(["-plugin", options.plugin] if options.plugin else [])],
            append=" ".join([APPEND, *options.kernel_parameter]),
            board=DEBUG_BOARD if options.kernel == "debug" else "pc",
            disks=self._disks(kernel_tree),
            network=[] if options.single else client_network(cables, options.mtu),
            sockets=[cable.client_end for cable in cables], generation=options.vmgenid,
            uuid=options.uuid),
            {"serial": by_lines(self._host_port.line), "ctl": by_lines(self._client_line),
             "out": self._output.data})
        if not options.single:
            self._snapshots = Snapshots(self._loop, self._client)
        for number in self._numbers():
            if options.single:
                self._servers[number] = ServerProcess(number, self._loop, options.boot_timeout, self._client)
            else:
                self._servers[number] = self._server_machine(number, bare, kernel, cables[number - 1])

    def _numbers(self):
        return range(1, self._options.servers + 1)

    def _machine(self, specification, channels):
        name = specification.name
        log = os.path.join(self._options.log_dir, f"{name}.console") if self._options.log_dir else None
        console = Console(name, self._options.console, log, lambda what: self._panicked(name, what))
        machine = Machine(self._loop, specification, console, channels, self._machine_ended)
        self._machines.append(machine)
        return machine

    def _server_machine(self, number, initramfs, kernel, cable):
        machine = self._machine(Specification(
            name=f"server{number}", kernel=kernel, initramfs=initramfs,
            memory_mib=self._options.server_mem, cpus=1, accelerator=self._accelerator,
            append=f"{APPEND} VM_NUMBER={number} VM_MTU={self._options.mtu} "
                   f"VM_CAPACITY_MIB={self._capacity_mib()}",
            network=server_network(cable, self._options.mtu), sockets=[cable.server_end]),
            {"serial": by_lines(lambda line: self._server_line(number, line))})
        return ServerMachine(number, self._loop, self._options.boot_timeout, machine, cable, self._client)

    def _client_memory(self):
        options = self._options
        memory = options.client_mem
        if options.single:
            memory += options.servers * options.server_mem
        if options.kernel == "debug":
            memory = max(DEBUG_LEAST_MIB, memory + DEBUG_OVERHEAD_MIB)
        return memory

    def _capacity_mib(self):
        memory = self._options.server_mem
        if self._options.single:
            return memory - max(16, memory // 16)
        # Below that, half of what the kernel leaves.
        return memory - SERVER_OVERHEAD_MIB if memory >= 192 else (memory - 48) // 2

    def _server_programs(self):
        if self._options.no_module or not self._options.servers:
            return ()
        return (("anemone-server", products.server()),)

    def _disks(self, kernel_tree):
        options = self._options
        disks = []
        if options.disk:
            throttle = ",".join(f"throttling.{kind}-total={limit}" for kind, limit in
                                (("iops", options.disk_iops), ("bps", options.disk_bps)) if limit)
            disks.append(Disk("disk", images.scratch_file(options.disk << 20), throttle=throttle))
        return disks + [Disk("tools", images.tools_image(kernel_tree), read_only=True),
                        Disk("root", images.root_disk()),
                        Disk("files", images.files_archive(self._files()), read_only=True)]

    def _files(self):
        """The run's files for the client: the script, --file, the project's products, the guest's scripts."""
        options = self._options
        tree = archive.Tree()
        environment = {
            "PATH": GUEST_PATH, "HOME": "/root", "TERM": "dumb",
            "ANEMONE_MODULE": "", "ANEMONE_SERVER": "", "ANEMONE_INTERFACE": "eth0",
            "ANEMONE_SERVERS": ",".join(mac(number) for number in self._numbers()),
            "ANEMONE_DISK": "/dev/vda" if options.disk else "",
            "ANEMONE_HOST": "/dev/anemone-host", "ANEMONE_LIB": LIBRARY, "ANEMONE_KERNEL": options.kernel}
        if not options.no_module:
            self._bring_products(tree, environment)
        settings = {"VM_SINGLE": int(options.single), "VM_ICOUNT": int(options.icount),
                    "VM_SERVERS": options.servers,
                    "VM_MTU": options.mtu, "VM_CAPACITY_MIB": self._capacity_mib()}
        lines = [f"export {name}={shlex.quote(value)}" for name, value in environment.items()]
        lines += [f"{name}={value}" for name, value in settings.items()]
        tree.text("etc/anemone/environment", "\n".join(lines) + "\n")
        for name in ("client.sh", "segment.sh", "server-process.sh", "anemone.sh"):
            tree.file(f"etc/anemone/{name}", images.guest_script(name), 0o755)
        for value in options.file:
            host_path, _, guest_path = (value, "", "") if os.path.exists(value) else value.partition(":")
            name = os.path.basename(os.path.abspath(host_path))
            if not guest_path or guest_path.endswith("/"):
                guest_path = os.path.join(guest_path or "/root", name)
            programs.add_path(tree, host_path, os.path.join("/root", guest_path))
        self._bring_script(tree)
        return tree

    def _bring_products(self, tree, environment):
        needed = self._options.servers > 0
        for variable, find, guest_path in (
                ("ANEMONE_MODULE", lambda: products.module(self._options.kernel), "/usr/lib/anemone/anemone.ko"),
                ("ANEMONE_SERVER", products.server, "/usr/bin/anemone-server")):
            try:
                path = find()
            except RunnerError:
                if needed:
                    raise
                continue
            programs.add_path(tree, path, guest_path)
            environment[variable] = guest_path
        if path := products.tool():
            programs.add_path(tree, path, "/usr/bin/anemonectl")

    def _bring_script(self, tree):
        script = self._options.script
        if not os.path.isfile(script):
            raise RunnerError(f"{script}: there is no such script", EXIT_USAGE)
        guest_path = f"/root/{os.path.basename(script)}"
        tree.file(guest_path, script, 0o755)
        programs.add_libraries(tree, script)
        interpreter = programs.interpreter(script)
        words = [guest_path, *self._options.argument]
        if not interpreter and not programs.is_elf(script):
            words.insert(0, "/bin/sh")
        command = " ".join(shlex.quote(word) for word in words)
        tree.text("etc/anemone/script", f"exec {command}\n")

    # While it runs

    def _boot(self):
        waiting = set(self._servers)
        self._client.start()
        if not self._options.single:
            self._start_servers(waiting)
        self._loop.after(self._options.boot_timeout, self._not_up)
        self._loop.run_until(lambda: self._booted)
        if self._options.single:
            self._start_servers(waiting)
        self._loop.run_until(lambda: not waiting)
        self._up = True

    def _start_servers(self, waiting):
        def started(number, answer):
            if answer != "ok":
                raise NotUp(f"server{number} did not come up: {answer}")
            waiting.discard(number)

        for number, server in self._servers.items():
            server.act("start", None, lambda answer, number=number: started(number, answer))

    def _client_line(self, line):
        """Handles a line of the client's first program."""
        word, _, rest = line.partition(" ")
        if word == "booted":
            self._booted = True
        elif word == "ready":
            self._servers[int(rest)].ready()
        elif word == "answer":
            self._host_port.answer_from_guest(rest)
        elif word == "exited":
            number, status = rest.split()
            if not self._servers[int(number)].exited():
                self._server_ended(int(number), status)

    def _server_line(self, number, line):
        """Handles a line of a server VM's first program."""
        word, _, rest = line.partition(" ")
        if word == "ready":
            self._servers[number].ready()
        elif word == "exited":
            self._server_ended(number, rest)
        elif word == "error":
            raise RunnerError(f"server{number}: {rest}")

    def _server_ended(self, number, status):
        message = f"anemone-server of server{number} ended by itself with status {status}"
        if not self._up:
            raise RunnerError(message)
        print(f"vm: warning: {message}", file=sys.stderr)

    def _panicked(self, name, what):
        def give_up():
            raise self._lost(f"the kernel of {name} panicked: {what}")

        self._panics.setdefault(name, what)
        self._loop.after(LAST_WORDS_S, give_up)

    def _machine_ended(self, machine, _status):
        if what := self._panics.get(machine.name):
            raise self._lost(f"the kernel of {machine.name} panicked: {what}")
        raise self._lost(f"{machine.name} went off by itself (a reboot or power-off)")

    def _lost(self, message):
        """A machine is gone. The caller distinguishes whether it had ever booted."""
        return RunnerError(message, EXIT_LOST if self._up else EXIT_NOT_UP)

    def _not_up(self):
        if not self._up:
            missing = [] if self._booted else ["client"]
            missing += [f"server{number}" for number, server in self._servers.items() if server.state != "up"]
            raise NotUp(f"not up within {self._options.boot_timeout} s: {', '.join(missing)}")

    def _timed_out(self):
        raise RunnerError(f"{self._options.script} did not end within {self._options.timeout:g} s", EXIT_TIMEOUT)

    def _take_down(self):
        for machine in self._machines:
            machine.kill()
            machine.console.close()
