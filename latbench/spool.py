"""What a run has measured so far, on disk as it comes, readable whatever happens to the run.

A spool is a directory beside the result file, `NAME.parquet.partial/`:

- `run.json`: what is known when the first tick is due (`Preface`);
- `RING.rows` for each ring: its rows as they were drained, int64 in this machine's byte order;
- `RING.packed`: those that were drained in great number at once, packed (`rowfile`, `packing`);
- `usage.rows` and `machine.rows`: what the supervisor samples once a second;
- `tally.json`: the counters that no row tells, written anew once a second;
- `STAGE.log`: what each process wrote;
- `lock`: held (`flock(2)`) by the supervisor as long as it lives.

Rows are appended with plain writes at every drain (20 a second), so after a `kill -9` all but the
last 50 to 100 ms are there. A row or frame cut off at the end is not read.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO, Final

import msgspec

from latbench.clock import WallAnchor
from latbench.config import RunConfig
from latbench.errors import LatbenchError, reason
from latbench.packing import pack
from latbench.recording import COLUMNS, SAMPLED
from latbench.result import BrokerFacts, Environment, Floor
from latbench.ring import Rows
from latbench.rowfile import RowFile, packed_path, raw_path

SUFFIX: Final = ".partial"
SPOOL_FORMAT: Final = 2
PACKED_FROM: Final = 2_048
"""So many rows of one drain are packed: 41,000 ticks/s and more.

At 200,000/s four rings are 32 MB/s. Once the first was 30 s old the system wrote it back, 1 GB
at once, and for 4.5 s ticks waited up to 1.4 s for broker and CPU; with rows in memory instead
(tmpfs) they waited 0.1 s. Packing takes 0.08 µs a tick and leaves about a hundredth."""

ROW_FILES: Final[Mapping[str, tuple[str, ...]]] = {**COLUMNS, **SAMPLED}
"""Columns of each file of rows."""


class Preface(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a run before its first tick."""

    format: int = SPOOL_FORMAT
    run_id: str
    config: RunConfig
    environment: Environment
    broker: BrokerFacts
    symbols: tuple[str, ...]
    """By `symbol_id`."""
    start_ns: int
    anchor: WallAnchor
    own_cost_ns: dict[str, int] = {}
    """By stage: what stamping and recording one tick takes."""
    floor: Floor | None = None


class Tally(msgspec.Struct, frozen=True, kw_only=True):
    """The counters that no row tells."""

    duplicates: int = 0
    reordered: int = 0
    unknown: int = 0
    malformed: int = 0
    delivery_errors: int = 0
    relay_backpressure: int = 0
    relay_backpressure_ns: int = 0
    generator_backpressure: int = 0
    generator_backpressure_ns: int = 0
    ring_overruns: int = 0
    source_skipped: int = 0
    said: tuple[str, ...] = ()
    """What the stages had to tell, the first few."""
    consumer_errors: int = 0
    sent: int | None = None
    """Ticks the generator sent; None while it may send more."""
    warmup_ns: int | None = None
    """How long the warm-up was, or is by now; None: as configured."""
    warmup_settled: bool = True
    subscribers: int = 0
    """That connected."""
    subscribers_ended: int = 0
    """Whose connections the relay ended."""
    subscriber_drops: int = 0
    """Ticks that slow subscribers lost at the relay."""


def spool_path(output: Path) -> Path:
    """The spool of the result file `output`."""
    return output.with_name(output.name + SUFFIX)


class NameTakenError(LatbenchError):
    """A spool of this name is there."""


class SpoolWriter:
    """The supervisor's end."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.mkdir(parents=True)
            self._lock = (path / "lock").open("wb")
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._files: dict[str, BinaryIO] = {
                ring: raw_path(path, ring).open("wb", buffering=0) for ring in ROW_FILES
            }
            self._packed: dict[str, BinaryIO] = {}
        except FileExistsError:
            raise NameTakenError(
                f"{path} is there: that run goes on, or it was killed",
                f"latbench report {path} reads it; remove it to use its name again",
            ) from None
        except OSError as error:
            raise _cannot_write(path, error) from None

    def log_path(self, stage: str) -> Path:
        """Where a stage's output goes."""
        return self.path / f"{stage}.log"

    def write_preface(self, preface: Preface) -> None:
        """Write what is known before the first tick."""
        self._replace("run.json", msgspec.json.encode(preface))

    def write_tally(self, tally: Tally) -> None:
        """Write the counters as they are now."""
        self._replace("tally.json", msgspec.json.encode(tally))

    def append(self, ring: str, rows: Rows) -> None:
        """Append drained rows."""
        if not rows.size:
            return
        if len(rows) < PACKED_FROM:
            self._write_whole(self._files[ring], rows.tobytes(), rows[:1].nbytes)
        else:
            frame = pack(rows)
            self._write_whole(self._packed_file(ring), frame, len(frame))

    def _packed_file(self, ring: str) -> BinaryIO:
        """Made when it is first needed: as a rule it never is."""
        if ring not in self._packed:
            try:
                self._packed[ring] = packed_path(self.path, ring).open("wb", buffering=0)
            except OSError as error:
                raise self._kept(error) from None
        return self._packed[ring]

    def _write_whole(self, file: BinaryIO, data: bytes, unit_bytes: int) -> None:
        """Append; if that fails, as many whole units of it as there is room for."""
        begin = file.tell()
        try:
            _write_all(file, data)
        except OSError as error:
            with contextlib.suppress(OSError):  # a part of a row would shift all that come after it
                file.truncate(file.tell() - (file.tell() - begin) % unit_bytes)
                file.seek(0, os.SEEK_END)
            raise self._kept(error) from None

    def _kept(self, error: OSError) -> LatbenchError:
        """What is told when the room runs out in the middle of a run."""
        told = _cannot_write(self.path, error)
        told.hint = f"make room; what was measured is kept: latbench report {self.path}"
        return told

    def _replace(self, name: str, content: bytes) -> None:
        """Write a file whole: a reader sees the old or the new one, never a part."""
        temporary = self.path / f"{name}.new"
        try:
            temporary.write_bytes(content)
            temporary.replace(self.path / name)
        except OSError as error:
            raise _cannot_write(self.path, error) from None

    def close(self) -> None:
        """Write no more rows."""
        for file in (*self._files.values(), *self._packed.values()):
            file.close()

    def remove(self) -> None:
        """Forget all of it: the result file has it."""
        self.close()
        self._lock.close()
        shutil.rmtree(self.path, ignore_errors=True)


def _write_all(file: BinaryIO, data: bytes) -> None:
    while data:  # an unbuffered write may take a part, as on a disk that is filling up
        data = data[file.write(data) :]


def _cannot_write(path: Path, error: OSError) -> LatbenchError:
    return LatbenchError(
        f"can't write to {path}: {reason(error)}",
        "choose another place with --output, or make room",
    )


class SpoolReader:
    """Reads a spool that may have been cut off anywhere."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            content = (path / "run.json").read_bytes()
        except OSError:
            raise LatbenchError(
                f"{path} holds no run: it ended before its first tick",
                "the stages' logs in it tell why",
            ) from None
        try:
            self.preface = msgspec.json.decode(content, type=Preface)
        except msgspec.DecodeError as error:
            raise LatbenchError(
                f"{path / 'run.json'} can't be read: {error}", "was it written by another version?"
            ) from None
        if self.preface.format > SPOOL_FORMAT:
            raise LatbenchError(
                f"{path} has format {self.preface.format}, this latbench reads {SPOOL_FORMAT}",
                "pip install --upgrade latbench",
            )

    @property
    def is_live(self) -> bool:
        """Whether the run that writes it goes on."""
        try:
            with (self.path / "lock").open("rb") as lock:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False

    def remove(self) -> None:
        """Forget it: a result file has it all."""
        shutil.rmtree(self.path, ignore_errors=True)

    def read_tally(self) -> Tally:
        """The counters as last written; zeros when never."""
        try:
            return msgspec.json.decode((self.path / "tally.json").read_bytes(), type=Tally)
        except (OSError, msgspec.DecodeError):
            return Tally()

    def rows(self) -> Mapping[str, RowFile]:
        """Each ring's rows as they stand now."""
        return {ring: RowFile(self.path, ring, len(columns)) for ring, columns in ROW_FILES.items()}
