# SPDX-License-Identifier: GPL-2.0
"""The memory servers of a run, as the client's ANEMONE_HOST device acts on them.

Two kinds with the same verbs: a VM each, and with --single processes inside the client's VM. Every
verb calls `answer` once, with `ok` or `error: ...`, when it is done.
"""

from .errors import RunnerError

VERBS = ("kill", "start", "pause", "resume", "link")


class Server:
    """What both kinds have in common: which verbs make sense in which state, and what is awaited."""

    def __init__(self, number, loop, start_bound_s):
        self.number = number
        self.state = "off"
        self._loop = loop
        self._start_bound_s = start_bound_s
        self._answer = None
        self._timer = None

    def act(self, verb, argument, answer):
        """Does what one line of ANEMONE_HOST asks."""
        needed = {"kill": ("up", "paused", "starting"), "start": ("off",), "pause": ("up",),
                  "resume": ("paused",), "link": ("up", "paused", "starting")}[verb]
        if self.state not in needed:
            answer(f"error: server {self.number} is {self.state}, cannot {verb} it")
            return
        try:
            getattr(self, verb)(*([argument] if verb == "link" else []), answer)
        except RunnerError as error:
            answer(f"error: {error}")

    def _await(self, answer, what):
        """Keeps `answer` until `_done` is called, but not for ever."""
        self._answer = answer
        self._timer = self._loop.after(
            self._start_bound_s,
            lambda: self._done(f"error: server {self.number} was not {what} within {self._start_bound_s} s"))

    def _done(self, result):
        answer, self._answer = self._answer, None
        if answer:
            self._timer.clear()
            answer(result)

    def ready(self):
        """Its server program said that it serves."""
        if self.state == "starting":
            self.state = "up"
            self._done("ok")


class ServerMachine(Server):
    """A server that is a VM of its own."""

    def __init__(self, number, loop, start_bound_s, machine, cable, client):
        super().__init__(number, loop, start_bound_s)
        self.machine = machine
        self._cable = cable
        self._client = client
        self._unplugged = False
        self._listening = True

    def start(self, answer):
        self._cable.discard_frames()
        self.state = "starting"
        self._await(answer, "ready")
        self.machine.start()
        self._set_listening(True)
        if self._unplugged:
            self.machine.monitor.command("set_link", name="nic0", up=False)

    def kill(self, answer):
        self.state = "off"
        self._done("error: it was killed meanwhile")
        self.machine.kill()
        self._set_listening(False)
        answer("ok")

    def pause(self, answer):
        self.machine.monitor.command("stop")
        # A stopped host loses frames that are sent to it. QEMU would keep every frame for later.
        self._set_listening(False)
        self.state = "paused"
        answer("ok")

    def resume(self, answer):
        self._set_listening(True)
        self.machine.monitor.command("cont")
        self.state = "up"
        answer("ok")

    def link(self, direction, answer):
        self.machine.monitor.command("set_link", name="nic0", up=direction == "up")
        self._unplugged = direction == "down"
        answer("ok")

    def _set_listening(self, listening):
        """Whether the hub hands frames to this server's cable or drops them."""
        if self._client.running and listening != self._listening:
            self._listening = listening
            self._client.monitor.command("set_link", name=f"cable{self.number}", up=listening)


class ServerProcess(Server):
    """A server that is a process in a network namespace of the client's VM (--single)."""

    def __init__(self, number, loop, start_bound_s, client):
        super().__init__(number, loop, start_bound_s)
        self._client = client

    def _ask(self, verb, answer):
        self._await(answer, "ready" if verb == "start" else "done")
        self._client.send_line("ctl", f"server {verb} {self.number}")

    def start(self, answer):
        self.state = "starting"
        self._ask("start", answer)

    def kill(self, answer):
        self._done("error: it was killed meanwhile")
        self.state = "killing"
        self._ask("kill", answer)

    def pause(self, answer):
        self.state = "paused"
        self._ask("pause", answer)

    def resume(self, answer):
        self.state = "up"
        self._ask("resume", answer)

    def link(self, direction, answer):
        self._ask(f"link-{direction}", answer)

    def answered(self, result):
        """The guest did it, or says why not."""
        self._done(result)

    def exited(self):
        """Its process has ended; returns whether that was asked for."""
        asked = self.state == "killing"
        self.state = "off"
        self._done("ok" if asked else f"error: server {self.number} ended by itself")
        return asked
