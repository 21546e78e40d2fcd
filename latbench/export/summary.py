"""A run's summary as JSON: what `--json` prints, and the JSON Schema of just that.

The schema is made of the types that are encoded, so that it can't tell otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from latbench import advice
from latbench.findings import Severity, describe, severity
from latbench.floor import floor_ns_by_hop, times_floor
from latbench.result import Finding, Floor, RunResult

SCHEMA_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"


class ToldFinding(Finding, frozen=True, kw_only=True):
    """A fact that a reader of the figures should know, in words."""

    severity: Severity
    text: str


class ToldAdvice(Finding, frozen=True, kw_only=True):
    """What to change, in words."""

    text: str


class ToldFloor(Floor, frozen=True, kw_only=True):
    """What this machine and this broker took with next to nothing in between."""

    floor_ns: dict[str, float]
    """By hop, those that have a floor."""
    times_floor: dict[str, float]
    """By hop: its p50 as a multiple of its floor."""


class Summary(RunResult, frozen=True, kw_only=True):
    """Everything known of a run but its rows, and in words what its codes mean."""

    findings: tuple[ToldFinding, ...]
    advice: tuple[ToldAdvice, ...] = ()
    floor: ToldFloor | None = None
    file: str
    """Where the result lies, as it was named."""


def summarise(result: RunResult, file: str) -> Summary:
    """The summary of a result that lies at `file`."""
    told = _members(result) | {
        "file": file,
        "findings": tuple(
            ToldFinding(**_members(each), severity=severity(each), text=describe(each))
            for each in result.findings
        ),
        "advice": tuple(
            ToldAdvice(**_members(each), text=advice.describe(each)) for each in result.advice
        ),
    }
    if result.floor is not None:
        told["floor"] = ToldFloor(
            **_members(result.floor),
            floor_ns=floor_ns_by_hop(result.floor),
            times_floor=times_floor(result.floor, result.hops),
        )
    return Summary(**told)


def _members(struct: msgspec.Struct) -> dict[str, Any]:
    return {name: getattr(struct, name) for name in struct.__struct_fields__}


def draw_json(result: RunResult, file: str, besides: Mapping[str, Any] | None = None) -> str:
    """The summary as JSON, indented by two, without a line break at its end.

    `besides`: members of their own, behind the summary's.
    """
    told = msgspec.to_builtins(summarise(result, file)) | dict(besides or {})
    return msgspec.json.format(msgspec.json.encode(told), indent=2).decode()


def draw_schema() -> str:
    """The JSON Schema (2020-12) of a summary, indented by two."""
    schema = {
        "$schema": SCHEMA_DIALECT,
        "title": "latbench result",
        **msgspec.json.schema(Summary),
    }
    return msgspec.json.format(msgspec.json.encode(schema), indent=2).decode()
