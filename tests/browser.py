"""The report's script in V8, with as much of a browser round it as it uses (`browser.js`)."""

from __future__ import annotations

import json
from pathlib import Path
from types import TracebackType
from typing import Any

from py_mini_racer import MiniRacer

from tests.html_pages import figures, parsed

HOST = Path(__file__).with_name("browser.js")


class Browser:
    """A page that is open: what its script has drawn, and what a reader can do to it.

    `instead`: figures that it draws in the place of the page's own.
    """

    def __init__(
        self, page: str, *, width: int = 1000, instead: dict[str, Any] | None = None
    ) -> None:
        document = parsed(page)
        shown = figures(page) | (instead or {})
        given = {
            "figures": json.dumps(shown),
            "width": width,
            "fields": [
                {
                    "of": field.get("data-of"),
                    "kind": field.get("data-kind"),
                    "inputs": [
                        {
                            "type": each.get("type"),
                            "value": each.get("value"),
                            "checked": each.get("checked") is not None,
                        }
                        for each in field.iter("input")
                    ],
                }
                for field in document.iter("fieldset")
            ],
            "folded": [1 for each in document.iter("details") if each.get("open") is None],
            "places": [
                {"key": key, "height": _height(each.get("style") or "")}
                for each in document.iter("div")
                if (key := each.get("data-chart"))
            ],
        }
        (script,) = (
            each.text or ""
            for each in document.iter("script")
            if (each.text or "").lstrip().startswith('"use strict"')
        )
        self._engine = MiniRacer()
        self._engine.eval(f"const PAGE = {json.dumps(given)};\n{HOST.read_text()}")
        self._engine.eval(script)

    def __enter__(self) -> Browser:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._engine.close()

    def told(self) -> dict[str, Any]:
        """All that was drawn and what is chosen, by now."""
        self._engine.eval("0")  # promises that are kept run before
        found = json.loads(str(self._engine.eval("told()")))
        assert isinstance(found, dict)
        return found

    def drawn(self, chart: str) -> dict[str, Any]:
        """A chart's `data`, `layout` and `config`, and how many `times` it was drawn."""
        found = self.told()["drawn"][chart]
        assert isinstance(found, dict)
        return found

    def visible(self, chart: str) -> list[dict[str, Any]]:
        """Its traces that are shown."""
        return [each for each in self.drawn(chart)["data"] if each["visible"]]

    def choose(self, chart: str, kind: str, value: str, *, is_on: bool = True) -> None:
        """Click a choice beside a chart."""
        self._call("choose", chart, kind, value, is_on)

    def zoom(self, chart: str, axis: str, low: float, high: float) -> None:
        """Draw a rectangle: exponents of a logarithmic axis."""
        self._engine.eval("0")
        self._call("zoom", chart, axis, [low, high])

    def darken(self) -> None:
        """Change the system's colours."""
        self._call("darken")

    def begin_print(self) -> None:
        """Ask for paper."""
        self._engine.eval("listeners.beforeprint()")

    def end_print(self) -> None:
        """Have it."""
        self._engine.eval("listeners.afterprint()")

    def _call(self, name: str, *given: object) -> None:
        self._engine.eval(f"{name}({', '.join(map(json.dumps, given))})")


def _height(style: str) -> int:
    return int(style.removeprefix("height:").removesuffix("px"))
