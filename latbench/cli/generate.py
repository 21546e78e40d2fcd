"""`latbench generate`: ticks to a relay, each when it is due."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from latbench import config as configuration
from latbench.arrivals import Arrivals
from latbench.assignment import assign
from latbench.batch import wasm
from latbench.cli import options
from latbench.cli.alone import conduct_stage
from latbench.cli.connection import parse_connection, parse_url
from latbench.config import RunConfig
from latbench.plan import GeneratorPlan
from latbench.render.alone import GeneratorWords
from latbench.units import format_rate, parse_duration_ns


def generate(
    url: options.Url = "ws://localhost:8080/ingest",
    tick_rate: options.TickRate = "1000",
    duration: options.Duration = None,
    symbols: options.Symbols = options.DEFAULT_SYMBOLS,
    arrivals: options.ArrivalsOption = Arrivals.CONSTANT,
    seed: options.Seed = "1",
    source: options.Source = configuration.SIMULATED,
    speed: options.Speed = "1",
    loop: options.Loop = False,
    ws_engine: options.WsEngine = "picows",
    token: options.Token = "",
    tls_ca: options.TlsCa = None,
    pin: options.Pin = "",
    coalesce: options.Coalesce = "0",
    spin: options.Spin = False,
    realtime: options.Realtime = False,
    compiled: options.Compiled = True,
    config: options.Config = None,
) -> int:
    """Send ticks to a relay, each when it is due."""
    del config
    run_config = RunConfig(
        tick_rate_hz=configuration.parse_tick_rate(tick_rate),
        duration_ns=parse_duration_ns(duration) if duration is not None else None,
        warmup_ns=0,
        symbols=configuration.parse_symbols(symbols),
        arrivals=arrivals,
        seed=configuration.parse_whole(seed, "--seed", 0, configuration.MAX_SEED),
        source=source,
        speed=configuration.parse_speed(speed),
        loop=loop,
    )
    cpus = configuration.parse_cpus(pin, os.sched_getaffinity(0))
    address = parse_url(url)
    assignment = assign(run_config, Path())
    plan = GeneratorPlan(
        run_id=secrets.token_hex(4),
        cpu=cpus[0] if cpus else None,
        hiccups=False,
        spin=spin,
        realtime=realtime,
        compiled=compiled and wasm.is_available(),
        url=address,
        ws_engine=configuration.parse_choice(ws_engine, "--ws-engine", configuration.WS_ENGINES),
        source=assignment.source,
        horizon_ns=assignment.horizon_ns,
        coalesce_ns=configuration.parse_coalesce_ns(coalesce),
        connection=parse_connection(token, tls_ca),
    )
    rate = format_rate(run_config.tick_rate_hz)
    what = (
        f"a replay of {source}"
        if run_config.is_replay
        else f"{rate} of {len(run_config.symbols)} symbols"
    )
    return conduct_stage(
        plan,
        "generator",
        GeneratorWords(),
        on_ready=lambda _: f"sending {what} to {address} as run {plan.run_id}",
        peak_rate_hz=assignment.peak_rate_hz,
        ends_by_signal=False,
    )
