"""`latbench broker`: the embedded broker in the foreground."""

from __future__ import annotations

import typer

from latbench.cli.alone import conduct_stage
from latbench.config import KEPT
from latbench.control import Ready
from latbench.plan import BrokerPlan
from latbench.render.alone import BrokerWords


def broker() -> int:
    """Serve an embedded broker (librdkafka's mock, not Kafka) until interrupted."""

    def tell_address(ready: Ready) -> str:
        # for a script, which waits for this line: on stdout and at once
        typer.echo(f"{KEPT}{ready.bootstrap}")
        return f"an embedded broker listens: --bootstrap {KEPT}{ready.bootstrap}; Ctrl-C ends it"

    plan = BrokerPlan(run_id="", hiccups=False)
    return conduct_stage(plan, "broker", BrokerWords(), on_ready=tell_address)
