"""Options from a TOML file: below the command line and the environment, above the defaults."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, Final

import typer

from latbench.cli import profiles
from latbench.errors import UsageError, reason

_REPEATABLE: Final = {
    "kafka",
    "origin",
    "producer",
    "consumer",
    "allow",
    "slo",
    "fail_on",
    "max_regression",
}
_LISTS: Final = {"symbols", "pin"}


def load(context: typer.Context, path: Path | None) -> Path | None:
    """Make the file's values the defaults of the command's options (an eager option's callback)."""
    if path is not None:
        known = {
            option.removeprefix("--"): parameter.name
            for parameter in context.command.params
            for option in parameter.opts
            if parameter.name not in {None, "config", "help"} and option.startswith("--")
        }
        values = _read(path, known)
        profile = values.pop("profile", None)
        if profile is not None and context.get_parameter_source("profile") is None:
            profiles.load(context, profile)
        context.meta[profiles.FILE_VALUES] = values
        context.default_map = {**(context.default_map or {}), **values}
    return path


def _read(path: Path, known: dict[str, str]) -> dict[str, Any]:
    """The values by parameter; `known` has the parameter of each option's long name."""
    try:
        with path.open("rb") as file:
            content = tomllib.load(file)
    except OSError as error:
        raise UsageError(
            f"{path} can't be read: {reason(error)}", "give --config a TOML file"
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not TOML: {error}", "a line is: tick-rate = 1000") from None
    values: dict[str, Any] = {}
    for key, value in content.items():
        parameter = known.get(key.replace("_", "-"))
        if parameter is None:
            names = ", ".join(sorted(known))
            raise UsageError(f"{path} sets {key!r}, which is no option", f"options are: {names}")
        values[parameter] = _as_option(path, key, parameter, value)
    return values


def _as_option(path: Path, key: str, name: str, value: object) -> object:
    """A TOML value as the command line would have written it."""
    if name in _REPEATABLE:
        if isinstance(value, dict):
            return [f"{item}={_plain(setting)}" for item, setting in _flatten(value)]
        if isinstance(value, list):
            return [str(item) for item in value]
        if isinstance(value, str):
            return [value]
    elif name in _LISTS and isinstance(value, list):
        return ",".join(str(item) for item in value)
    elif isinstance(value, bool):
        return value
    elif isinstance(value, int | float | str):
        return str(value)
    raise UsageError(f"{path} sets {key!r} to {value!r}", f"give {key} a plain value")


def _flatten(table: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """A bare `linger.ms = 5` is a table in a table for TOML: join its keys again."""
    items: list[tuple[str, Any]] = []
    for key, value in table.items():
        if isinstance(value, dict):
            items += _flatten(value, f"{prefix}{key}.")
        else:
            items.append((f"{prefix}{key}", value))
    return items


def _plain(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
