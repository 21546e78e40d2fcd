"""What words of `latbench run` ask for, without making the run."""

from __future__ import annotations

from collections.abc import Sequence

import typer

from latbench.config import RunConfig


class Asked:
    """Stands in a context's `obj`: `run` gives its configuration here and does nothing else."""

    def __init__(self) -> None:
        self.config: RunConfig | None = None
        self.given: frozenset[str] = frozenset()
        """Parameters whose value is no default: written, in the environment or in a file."""

    def take(self, context: typer.Context, config: RunConfig) -> None:
        """What `run` read."""
        self.config = config
        sources = {name: context.get_parameter_source(name) for name in context.params}
        self.given = frozenset(
            name for name, source in sources.items() if source and source.name != "DEFAULT"
        )


def read_run_options(words: Sequence[str]) -> Asked:
    """What `latbench run` would do with these options; raises whatever it would say of them."""
    from latbench.cli import build_app  # noqa: PLC0415 (it imports this module's users)

    asked = Asked()
    command = typer.main.get_command(build_app(["run"]))
    command.main(["run", *words], prog_name="latbench", standalone_mode=False, obj=asked)
    return asked
