"""The process that `up` becomes: supervisor in the foreground, with a starter beside it that brings the portal up.

    python -m portal.embedded.supervise SUPERVISORD.CONF FD,FD… STARTER…

FD: listening sockets that it holds for its programs; each inherits those of which it is told with `--fd` or
`--udp-fd`.
When the starter fails, everything is stopped and the exit code is 1. Closing the terminal stops it like Ctrl-C.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from itertools import pairwise

from supervisor import events
from supervisor.medusa import asyncore_25 as asyncore
from supervisor.options import ServerOptions
from supervisor.states import SupervisorStates
from supervisor.supervisord import Supervisor

TURN_S = 0.1


class Options(ServerOptions):  # type: ignore[misc]
    """supervisor's options and system calls, with our signals, our starter and our listening sockets."""

    listeners: frozenset[int] = frozenset()
    starter: subprocess.Popen[bytes] | None = None
    starter_failed = False
    mood: int

    def setsignals(self) -> None:
        before = signal.getsignal(signal.SIGHUP)
        super().setsignals()
        if before == signal.SIG_IGN:  # nohup
            signal.signal(signal.SIGHUP, signal.SIG_IGN)

    def get_signal(self) -> int | None:
        """To supervisor SIGHUP means "read the configuration again"; to us that the terminal was closed."""
        number: int | None = super().get_signal()
        return signal.SIGTERM if number == signal.SIGHUP else number

    def close_fd(self, fd: int) -> None:
        """Asked, in a child that is to become a program, to close everything: all but what `execve` decides about."""
        if fd not in self.listeners:
            super().close_fd(fd)

    def execve(self, filename: str, argv: Sequence[str], env: Mapping[str, str]) -> None:
        told = {value for option, value in pairwise(argv) if option in {"--fd", "--udp-fd"}}
        for fd in self.listeners:
            os.set_inheritable(fd, str(fd) in told)
        super().execve(filename, argv, env)

    def waitpid(self) -> tuple[int | None, int | None]:
        pid, status = super().waitpid()
        if self.starter and pid == self.starter.pid:
            self.starter = None
            if status and self.mood == SupervisorStates.RUNNING:
                self.starter_failed = True
                self.mood = SupervisorStates.SHUTDOWN
        return pid, status


class Foreground(Supervisor):  # type: ignore[misc]
    def __init__(self, options: Options, starter: Sequence[str]) -> None:
        super().__init__(options)
        self._starter = starter

    def runforever(self) -> None:
        wait = self.options.poller.poll
        # supervisor starts a dead child again one turn of its loop after it saw the death, and a turn takes a second.
        self.options.poller.poll = lambda timeout: wait(min(timeout, TURN_S))
        events.subscribe(events.SupervisorStoppingEvent, self._on_stopping)
        # Its own process group: Ctrl-C comes to us alone, and an interrupted starter would look like a failed one.
        self.options.starter = subprocess.Popen(self._starter, stdin=subprocess.DEVNULL, process_group=0)
        super().runforever()

    def _on_stopping(self, event: object) -> None:
        if self.options.starter:
            os.kill(self.options.starter.pid, signal.SIGKILL)  # reaped by our own waitpid
        print("Stopping OpenManager …", flush=True)


def main(arguments: Sequence[str]) -> int:
    options = Options()
    options.realize(["-n", "-c", arguments[0]])
    options.first, options.test = True, False
    options.listeners = frozenset(map(int, arguments[1].split(",")))
    with contextlib.suppress(asyncore.ExitNow):  # supervisor's way to say that everything has stopped
        Foreground(options, arguments[2:]).main()
    options.close_httpservers()
    options.close_logger()
    return int(options.starter_failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
