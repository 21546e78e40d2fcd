"""Options that several commands have: each declared once, so that it means the same everywhere.

A command names its default beside the parameter; how its text is read stands in `config`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

from latbench import config as configuration
from latbench.arrivals import Arrivals
from latbench.cli import profiles, settings

LOAD: Final = "Load"
REPLAY: Final = "Replay"
PIPELINE: Final = "Pipeline"
OUTPUT: Final = "Output"
VERDICT: Final = "Verdict"

# --- load

DEFAULT_SYMBOLS: Final = ",".join(configuration.DEFAULT_SYMBOLS)

Symbols = Annotated[
    str,
    typer.Option(envvar="SYMBOLS", metavar="A,B,…", help="Their names.", rich_help_panel=LOAD),
]
ArrivalsOption = Annotated[
    Arrivals,
    typer.Option(
        help="How ticks are spread: evenly, at random (Poisson), in quiet and active spells.",
        rich_help_panel=LOAD,
    ),
]

# --- pipeline

WsEngine = Annotated[
    str,
    typer.Option(
        metavar="|".join(configuration.WS_ENGINES),
        help="The WebSocket library of generator and relay.",
        rich_help_panel=PIPELINE,
    ),
]
Pin = Annotated[
    str,
    typer.Option(
        metavar="CPU,…",
        help="Pin generator, relay and consumer to these CPUs, in this order and round again.",
        rich_help_panel=PIPELINE,
        show_default=False,
    ),
]
Hiccups = Annotated[
    bool,
    typer.Option(
        metavar="",
        help="A thread in each process that tells how late the machine wakes it.",
        rich_help_panel=PIPELINE,
    ),
]

Coalesce = Annotated[
    str,
    typer.Option(
        metavar="MS",
        help="Least time between two writes of the generator; the wait counts in schedule.",
        rich_help_panel=PIPELINE,
    ),
]
Spin = Annotated[
    bool,
    typer.Option(
        "--spin",
        metavar="",
        help="Generator, relay and consumer never sleep: no wake-ups, a CPU each.",
        rich_help_panel=PIPELINE,
    ),
]
Realtime = Annotated[
    bool,
    typer.Option(
        "--realtime",
        metavar="",
        help="Ask for SCHED_FIFO and locked memory; the report says what was granted.",
        rich_help_panel=PIPELINE,
    ),
]
Compiled = Annotated[
    bool,
    typer.Option(
        "--compiled/--no-compiled",
        metavar="",
        help="Many ticks at once by compiled code, or each by itself.",
        rich_help_panel=PIPELINE,
    ),
]

Profile = Annotated[
    str | None,
    typer.Option(
        callback=profiles.load,
        is_eager=True,
        metavar="|".join(profiles.NAMES),
        help="Settings that go together: for the least latency, or for the most ticks a second; "
        "what is given besides wins.",
        rich_help_panel=PIPELINE,
        show_default=False,
    ),
]

Subscribers = Annotated[
    str,
    typer.Option(
        envvar="SUBSCRIBERS",
        metavar="N",
        help="WebSocket clients that take every tick from the relay: the hop fanout.",
        rich_help_panel=PIPELINE,
    ),
]
SlowClient = Annotated[
    str,
    typer.Option(
        metavar="|".join(configuration.SLOW_CLIENT),
        help="What the relay does to a subscriber that is further behind than its queue.",
        rich_help_panel=PIPELINE,
    ),
]
SubscriberQueue = Annotated[
    str,
    typer.Option(
        metavar="N",
        help="Ticks that a subscriber may be behind, besides what its socket holds.",
        rich_help_panel=PIPELINE,
    ),
]

WsHost = Annotated[
    str,
    typer.Option(
        "--ws-host",
        "--host",
        envvar="WEBSOCKET_HOST",
        metavar="HOST",
        help="Where the relay listens.",
        rich_help_panel=PIPELINE,
    ),
]
WsPort = Annotated[
    str,
    typer.Option(
        "--ws-port",
        "--port",
        envvar="WEBSOCKET_PORT",
        metavar="PORT",
        help="0: a free port.",
        rich_help_panel=PIPELINE,
    ),
]
Url = Annotated[
    str,
    typer.Option(
        envvar="WEBSOCKET_URL",
        metavar="ws://HOST:PORT",
        help="The relay.",
        rich_help_panel=PIPELINE,
    ),
]
Token = Annotated[
    str,
    typer.Option(
        envvar="LATBENCH_TOKEN",
        metavar="TEXT",
        help="What a relay takes ticks for; better in the environment than here.",
        rich_help_panel=PIPELINE,
        show_default=False,
    ),
]
TlsCa = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Certificates to trust for wss (default: the system's).",
        rich_help_panel=PIPELINE,
        show_default=False,
    ),
]

# --- load of `run` and `generate`

TickRate = Annotated[
    str,
    typer.Option(
        envvar="TICK_RATE",
        metavar="N",
        help="Ticks a second over all symbols, 1 to 1,000,000.",
        rich_help_panel=LOAD,
    ),
]
Duration = Annotated[
    str | None,
    typer.Option(
        envvar="DURATION",
        metavar="TIME",
        help="Measured time: 60, 60s, 5m, 24h (default: 60s; a replay: its whole length).",
        rich_help_panel=LOAD,
        show_default=False,
    ),
]
DurationOfListening = Annotated[
    str | None,
    typer.Option(
        envvar="DURATION",
        metavar="TIME",
        help="How long (default: until interrupted).",
        rich_help_panel=LOAD,
        show_default=False,
    ),
]
Seed = Annotated[
    str,
    typer.Option(
        metavar="N",
        help="The same seed gives the same prices and arrivals.",
        rich_help_panel=LOAD,
    ),
]
Source = Annotated[
    str,
    typer.Option(
        metavar="sim|FILE",
        help="A simulated market, or recorded ticks: Parquet, CSV or an exchange capture.",
        rich_help_panel=REPLAY,
    ),
]
Speed = Annotated[
    str,
    typer.Option(
        metavar="X|max",
        help="Factor on the recorded spacing; max: as fast as the pipeline takes them.",
        rich_help_panel=REPLAY,
    ),
]
Loop = Annotated[
    bool,
    typer.Option(
        "--loop",
        metavar="",
        help="Begin again at the file's end, until the duration is over.",
        rich_help_panel=REPLAY,
    ),
]

# --- output

OutputFile = Annotated[
    Path | None,
    typer.Option(
        "--output",
        metavar="FILE",
        help="The result file (default: bench-results/TIME-NAME.parquet).",
        rich_help_panel=OUTPUT,
        show_default=False,
    ),
]
Name = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help="A name for this run, kept in its file.",
        rich_help_panel=OUTPUT,
        show_default=False,
    ),
]
Live = Annotated[
    bool,
    typer.Option(
        metavar="",
        help="A live table on a terminal; else, and with --no-live, a line every 5 s.",
        rich_help_panel=OUTPUT,
    ),
]
Overwrite = Annotated[
    bool,
    typer.Option(
        "--overwrite", metavar="", help="Replace FILE if it is there.", rich_help_panel=OUTPUT
    ),
]
KeepRuns = Annotated[
    bool,
    typer.Option(
        "--keep-runs",
        metavar="",
        help="Keep each run's own result file, in a directory beside FILE.",
        rich_help_panel=OUTPUT,
    ),
]
AsJson = Annotated[
    bool,
    typer.Option(
        "--json",
        metavar="",
        help="All of it as JSON on stdout, nothing else there.",
        rich_help_panel=OUTPUT,
    ),
]
Config = Annotated[
    Path | None,
    typer.Option(
        callback=settings.load,
        is_eager=True,
        metavar="FILE",
        help="TOML with any of these options; environment and command line win over it.",
        rich_help_panel=OUTPUT,
        show_default=False,
    ),
]

# --- verdict

Gates = Annotated[
    list[str] | None,
    typer.Option(
        "--gate",
        metavar="HOP.STATISTIC=PERCENT",
        help="How much worse it may get (default: p50=5%, p99=10% of end_to_end; 50 µs always "
        "may be); repeatable.",
        rich_help_panel=VERDICT,
        show_default=False,
    ),
]
Strict = Annotated[
    bool,
    typer.Option(
        "--strict",
        metavar="",
        help="Exit 4 where there is no verdict (inconclusive, incomparable), instead of 0.",
        rich_help_panel=VERDICT,
    ),
]


def parse_subscribers(text: str) -> int:
    """How many subscribers."""
    return configuration.parse_whole(text, "--subscribers", 0, configuration.MAX_SUBSCRIBERS)


def parse_slow_client(text: str) -> str:
    """What becomes of a subscriber that is too slow."""
    return configuration.parse_choice(text, "--slow-client", configuration.SLOW_CLIENT)


def parse_subscriber_queue(text: str) -> int:
    """How many ticks behind that is."""
    return configuration.parse_whole(
        text, "--subscriber-queue", 1, configuration.MAX_SUBSCRIBER_QUEUE
    )
