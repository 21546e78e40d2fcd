"""The words between the supervisor and a stage: one JSON object a line over a socket pair."""

from __future__ import annotations

import contextlib
import socket
from typing import Final

import msgspec

from latbench.clock import WallAnchor
from latbench.plan import StagePlan

STAGE_FD_VARIABLE = "LATBENCH_STAGE_FD"
"""Names the environment variable that makes a process a stage: its end of the socket pair."""


class Work(msgspec.Struct, frozen=True, tag="work"):
    """To a stage: what to be."""

    plan: StagePlan


class Start(msgspec.Struct, frozen=True, tag="start"):
    """To a stage: the first tick is due at `start_ns`."""

    start_ns: int
    anchor: WallAnchor


class Until(msgspec.Struct, frozen=True, tag="until"):
    """To the generator: ticks due at `due_ns` or later are not to be sent."""

    due_ns: int


class Stop(msgspec.Struct, frozen=True, tag="stop"):
    """To a stage: finish what is begun, say `Done`, end."""


class Ready(msgspec.Struct, frozen=True, tag="ready"):
    """From a stage: able to work."""

    port: int = 0
    """The relay's, once it listens."""
    bootstrap: str = ""
    """The embedded broker's, or where a proxy listens: `host:port[,host:port…]`."""
    own_cost_ns: int = 0
    """What stamping and recording one tick takes here."""


class Done(msgspec.Struct, frozen=True, tag="done"):
    """From a stage: all work is finished."""


class Said(msgspec.Struct, frozen=True, tag="said"):
    """From a stage: something that its user should see now."""

    text: str


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """From a stage: it can't go on, and why, as a `LatbenchError` has it."""

    message: str
    hint: str
    exit_code: int


class Found(msgspec.Struct, frozen=True, tag="found"):
    """From a stage that was told no run: it takes part in this one."""

    run_id: str


class Measured(msgspec.Struct, frozen=True, tag="measured"):
    """From a probe: the samples of one floor, in the order they were taken."""

    probe: str
    values_ns: list[int]


_SEND_TIMEOUT_S: Final = 10.0
_MAX_DESCRIPTORS: Final = 32

ToStage = Work | Start | Until | Stop
FromStage = Ready | Done | Said | Found | Measured | Failed

_encoder = msgspec.json.Encoder()
_to_stage: msgspec.json.Decoder[ToStage] = msgspec.json.Decoder(ToStage)
_from_stage: msgspec.json.Decoder[FromStage] = msgspec.json.Decoder(FromStage)


class _Lines:
    """Whole lines out of a socket."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._pending = b""

    def send(self, message: ToStage | FromStage) -> None:
        """Send one message; a peer that has ended is no error here (its end shows elsewhere)."""
        try:
            self.sock.sendall(_encoder.encode(message) + b"\n")
        except (BrokenPipeError, ConnectionResetError, TimeoutError):
            return

    def _read(self) -> list[bytes] | None:
        """Lines that came with one `recv`; None at the end of the stream."""
        received = self.sock.recv(1 << 16)
        if not received:
            return None
        *lines, self._pending = (self._pending + received).split(b"\n")
        return lines


class StageEnd(_Lines):
    """A stage's end; reading blocks."""

    def receive_descriptors(self) -> list[int] | None:
        """Wait for `SupervisorEnd.send_descriptors`; None when the supervisor is gone."""
        told, descriptors, _, _ = socket.recv_fds(
            self.sock, 1, _MAX_DESCRIPTORS, socket.MSG_CMSG_CLOEXEC
        )
        return descriptors if told else None

    def receive(self) -> list[ToStage] | None:
        """Wait for messages; None when the supervisor is gone."""
        lines = self._read()
        return None if lines is None else [_to_stage.decode(line) for line in lines]


class SupervisorEnd(_Lines):
    """The supervisor's end; reading never blocks."""

    def send_descriptors(self, descriptors: list[int]) -> None:
        """Before anything else: where the stage's log goes, then its rings (`SCM_RIGHTS`).

        A process can so be started before it is known where and how large they are.
        """
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # as for `send`
            socket.send_fds(self.sock, [b"\n"], descriptors)

    def send(self, message: ToStage | FromStage) -> None:
        """See `_Lines`; waits for a stage that has a long plan to read, but not for ever."""
        self.sock.settimeout(_SEND_TIMEOUT_S)
        try:
            super().send(message)
        finally:
            self.sock.setblocking(False)

    def receive(self) -> list[FromStage]:
        """Messages that have come, perhaps none."""
        messages: list[FromStage] = []
        while True:
            try:
                lines = self._read()
            except (BlockingIOError, ConnectionResetError):
                return messages
            if lines is None:
                return messages
            messages.extend(_from_stage.decode(line) for line in lines)
