"""The supervisor as a stage sees it."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable, Sequence

from latbench.control import FromStage, StageEnd, Start, Stop, ToStage, Until
from latbench.errors import ExitCode


class Supervisor:
    """The supervisor, seen from a stage: what it says, and what to tell it.

    A thread reads the control channel, so that a stage never has to; when the supervisor is gone
    the process ends at once.
    """

    def __init__(self, end: StageEnd, heard: Sequence[ToStage] = ()) -> None:
        self._end = end
        self._heard = heard
        self._starts: queue.SimpleQueue[Start | None] = queue.SimpleQueue()
        self._stop_callbacks: list[Callable[[], object]] = []
        self._until_callbacks: list[Callable[[int], object]] = []
        self._until_ns: int | None = None
        self.stopping = threading.Event()
        self.send: Callable[[FromStage], None] = end.send

    def watch(self) -> None:
        """Begin to listen."""
        threading.Thread(target=self._listen, name="control", daemon=True).start()

    def _listen(self) -> None:
        messages: Sequence[ToStage] | None = self._heard
        while messages is not None:
            for message in messages:
                self._take(message)
            messages = self._end.receive()
        os._exit(ExitCode.FAILURE)

    def _take(self, message: ToStage) -> None:
        if isinstance(message, Start):
            self._starts.put(message)
        elif isinstance(message, Until):
            self._until_ns = message.due_ns
            for tell in self._until_callbacks:
                tell(message.due_ns)
        elif isinstance(message, Stop):
            self.stopping.set()
            self._starts.put(None)
            for callback in self._stop_callbacks:
                callback()

    def wait_start(self) -> Start | None:
        """Wait until told to start; None when told to stop instead."""
        return self._starts.get()

    def on_until(self, callback: Callable[[int], object]) -> None:
        """Have `callback` called (by the listening thread) when the end of the schedule is told."""
        self._until_callbacks.append(callback)
        if self._until_ns is not None:
            callback(self._until_ns)

    def on_stop(self, callback: Callable[[], object]) -> None:
        """Have `callback` called (by the listening thread) when told to stop."""
        self._stop_callbacks.append(callback)
        if self.stopping.is_set():
            callback()
