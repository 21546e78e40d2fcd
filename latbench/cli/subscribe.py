"""`latbench subscribe`: WebSocket clients of a relay, and when each tick reaches them."""

from __future__ import annotations

from typing import Annotated

import typer

from latbench import config as configuration
from latbench.batch import wasm
from latbench.cli import options
from latbench.cli.alone import conduct_stage
from latbench.cli.connection import parse_connection, parse_url
from latbench.plan import SubscriberPlan
from latbench.render.alone import SubscriberWords
from latbench.units import parse_duration_ns


def subscribe(
    url: options.Url = "ws://localhost:8080/ticks",
    clients: Annotated[
        str,
        typer.Option(
            envvar="SUBSCRIBERS",
            metavar="N",
            help="How many of them.",
            rich_help_panel=options.PIPELINE,
        ),
    ] = "1",
    duration: options.DurationOfListening = None,
    token: options.Token = "",
    tls_ca: options.TlsCa = None,
    compiled: options.Compiled = True,
    config: options.Config = None,
) -> int:
    """Take ticks from a relay as many clients, and measure the fan-out: relay to each of them."""
    del config
    plan = SubscriberPlan(
        run_id="",
        url=parse_url(url),
        clients=configuration.parse_whole(clients, "--clients", 1, configuration.MAX_SUBSCRIBERS),
        connection=parse_connection(token, tls_ca),
        hiccups=False,
        compiled=compiled and wasm.is_available(),
    )
    many = "1 subscriber listens" if plan.clients == 1 else f"{plan.clients:,} subscribers listen"
    return conduct_stage(
        plan,
        "subscriber",
        SubscriberWords(),
        on_ready=lambda _: f"{many} at {plan.url}; Ctrl-C ends it",
        duration_ns=None if duration is None else parse_duration_ns(duration),
    )
