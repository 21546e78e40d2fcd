"""What a stage meets, in memory: its ring with both ends, and a supervisor that listens."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import cast

from latbench.control import FromStage, Said
from latbench.recording import COLUMNS
from latbench.ring import RingReader, RingWriter, create_memory
from latbench.stages.supervised import Supervisor

RUN_ID = "5f1c09ab"


class TwoEndedRing:
    """A ring whose rows the test reads back."""

    def __init__(self, name: str, rows: int = 1 << 14) -> None:
        descriptor = create_memory(len(COLUMNS[name]), rows)
        self.writer = RingWriter(descriptor, len(COLUMNS[name]))
        self._reader = RingReader(descriptor, len(COLUMNS[name]))
        self._columns = COLUMNS[name]
        os.close(descriptor)

    def rows(self) -> list[dict[str, int]]:
        """All rows written since the last call, by column."""
        drained = self._reader.drain(last=True).tolist()
        return [dict(zip(self._columns, row, strict=True)) for row in drained]

    def count(self, counter: int) -> int:
        """One of the stage's counters."""
        return int(self.writer.counters[counter])

    def counts(self) -> list[int]:
        """All of the stage's counters."""
        return self.writer.counters.tolist()


class ListeningSupervisor:
    """Keeps what a stage says."""

    def __init__(self) -> None:
        self.heard: list[FromStage] = []

    def send(self, message: FromStage) -> None:
        self.heard.append(message)

    @property
    def said(self) -> Sequence[str]:
        return [message.text for message in self.heard if isinstance(message, Said)]

    def as_supervisor(self) -> Supervisor:
        return cast("Supervisor", self)
