"""JSON with a schema number: read by versions that know it, refused by those that don't."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import msgspec

from latbench.errors import LatbenchError

T = TypeVar("T")


class _Versioned(msgspec.Struct):
    schema: int


def decode_versioned(path: Path, content: bytes, kind: type[T], name: str, newest: int) -> T:
    """The value that `content`, found in `path`, holds.

    `name`: what kind of schema it is, for people; `newest`: the latest that is known here. Raises
    `LatbenchError` for a later one, and for what is damaged.
    """
    try:
        schema = msgspec.json.decode(content, type=_Versioned).schema
        if schema > newest:
            raise LatbenchError(
                f"{path} has {name} schema {schema}; this latbench reads up to {newest}",
                "pip install --upgrade latbench",
            )
        return msgspec.json.decode(content, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise LatbenchError(f"{path} has damaged metadata: {error}", "run it again") from None
