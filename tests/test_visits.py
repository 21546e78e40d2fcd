"""What a request to the relay's port is answered with."""

from __future__ import annotations

import dataclasses
import io
import json
import string
from email.message import Message
from http.client import HTTPResponse
from typing import Any, cast

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latbench.plan import ServerSettings
from latbench.stages.visits import Answer, Reception, Visit

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
UPGRADE = {
    "Host": "relay:8080",
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Key": KEY,
    "Sec-WebSocket-Version": "13",
}
HEALTH: dict[str, object] = {"status": "ok", "clients": 3}


def judge(
    path: str = "/",
    method: str = "GET",
    clients: int = 0,
    *,
    deflates: bool = False,
    protocol: str = "HTTP/1.1",
    settings: ServerSettings | None = None,
    **headers: str | None,
) -> Visit | Answer:
    """Decide about a request; headers are given with underscores, None leaves one out."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    given = {name: value for name, value in named.items() if value is not None}
    lines = [f"{method} {path} {protocol}", *(f"{name}: {value}" for name, value in given.items())]
    head = "".join(f"{line}\r\n" for line in lines) + "\r\n"
    reception = Reception(
        settings or ServerSettings(), lambda: clients, lambda: HEALTH, deflates=deflates
    )
    return reception.judge(head.encode())


def upgrade(path: str, **changes: Any) -> Visit | Answer:
    headers = {name.replace("-", "_"): value for name, value in UPGRADE.items()}
    return judge(path, **{**headers, **changes})


@dataclasses.dataclass(frozen=True)
class Read:
    """An answer as a client reads it."""

    headers: Message
    body: bytes


class Wire(io.BytesIO):
    """A socket that has an answer in it."""

    def makefile(self, mode: str) -> io.BytesIO:
        return self


def answer(found: Visit | Answer, method: str = "GET") -> tuple[int, Read]:
    """An answer's status, and what a client reads of it."""
    assert isinstance(found, Answer)
    wire = Wire(found.data)
    response = HTTPResponse(cast("Any", wire), method=method)
    response.begin()
    body = response.read()
    assert found.data.endswith(body)
    assert response.status == found.status
    assert response.headers["Connection"] == "close"
    return found.status, Read(response.headers, body)


def visit(found: Visit | Answer) -> Visit:
    assert isinstance(found, Visit), found
    return found


@pytest.mark.parametrize(
    ("path", "sends", "receives", "symbols"),
    [
        ("/", True, True, None),
        ("/ingest", True, False, None),
        ("/ticks", False, True, None),
        ("/ticks?symbols=NIFTY,TCS", False, True, {"NIFTY", "TCS"}),
        ("/ticks?symbols=NIFTY&symbols=TCS,%20A%26B", False, True, {"NIFTY", "TCS", "A&B"}),
        ("/ticks?symbols=", False, True, None),
        ("/?symbols=TCS", True, True, {"TCS"}),
    ],
)
def test_the_path_says_what_a_client_is(
    path: str, sends: bool, receives: bool, symbols: set[str] | None
) -> None:
    found = visit(upgrade(path))
    assert (found.sends, found.receives, found.symbols) == (sends, receives, symbols)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_plain_request_is_told_what_this_is(method: str) -> None:
    found = judge("/", method)
    status, response = answer(found, method)
    assert status == 200
    assert response.headers["Content-Type"].startswith("text/plain")
    told = answer(judge("/"))[1].body.decode()
    assert "latbench" in told
    assert "/ticks?symbols=" in told
    assert (response.body == b"") == (method == "HEAD")
    assert int(response.headers["Content-Length"]) == len(told.encode())


def test_health_is_json_with_and_without_a_body() -> None:
    status, response = answer(judge("/healthz"))
    assert (status, json.loads(response.body)) == (200, HEALTH)
    assert response.headers["Content-Type"] == "application/json"
    assert answer(judge("/healthz", "HEAD"), "HEAD")[0] == 200


@pytest.mark.parametrize(
    ("found", "status", "words"),
    [
        (judge("/nothing"), 404, "nothing is at '/nothing'"),
        (upgrade("/nothing"), 404, "/ingest"),
        (judge("/ticks"), 426, "WebSocket"),
        (judge("/", "POST"), 405, "no POST here"),
        (judge("/ingest", "DELETE"), 405, "no DELETE"),
        (judge("/", protocol="HTTP/3"), 400, "no HTTP request"),
        (judge("/", Transfer_Encoding="chunked"), 400, "no HTTP request"),
        (judge("/", Content_Length="5"), 400, "no HTTP request"),
        (upgrade("/", Sec_WebSocket_Version="8"), 400, "Sec-WebSocket-Version"),
        (upgrade("/", Sec_WebSocket_Key="short"), 400, "Sec-WebSocket-Key"),
        (upgrade("/", Sec_WebSocket_Key=None), 400, "Sec-WebSocket-Key"),
        (upgrade("/", Upgrade="h2c"), 426, "Upgrade"),
        (upgrade("/", Connection="keep-alive"), 426, "Connection"),
        (upgrade("/", method="POST"), 405, ""),
    ],
)
def test_what_is_no_visit_is_answered_with_the_reason(
    found: Visit | Answer, status: int, words: str
) -> None:
    told = answer(found)
    assert told[0] == status
    assert words in told[1].body.decode()


def test_a_post_is_told_what_is_allowed_and_a_missing_upgrade_what_is_needed() -> None:
    assert answer(judge("/", "POST"))[1].headers["Allow"] == "GET, HEAD"
    assert answer(judge("/ticks"))[1].headers["Upgrade"] == "websocket"


def test_every_library_gets_the_request_as_the_standard_has_it() -> None:
    """Firefox sends `Connection: keep-alive, Upgrade`, which picows refuses."""
    found = visit(
        upgrade("/ticks?symbols=TCS", Connection="keep-alive, Upgrade", Cookie="a=b", Origin=None)
    )
    lines = found.request.decode().split("\r\n")
    assert lines[0] == "GET /ticks?symbols=TCS HTTP/1.1"
    assert "Connection: Upgrade" in lines
    assert f"Sec-WebSocket-Key: {KEY}" in lines
    assert not any("Cookie" in line for line in lines)
    assert lines[-2:] == ["", ""]


def test_deflate_is_agreed_on_where_it_was_asked_for_on_both_sides() -> None:
    offer = {"Sec_WebSocket_Extensions": "permessage-deflate; client_max_window_bits"}
    assert visit(upgrade("/ticks", deflates=True, **offer)).deflates
    assert b"permessage-deflate" in visit(upgrade("/ticks", deflates=True, **offer)).request
    assert not visit(upgrade("/ticks", **offer)).deflates
    assert b"permessage-deflate" not in visit(upgrade("/ticks", **offer)).request
    assert not visit(upgrade("/ticks", deflates=True)).deflates


# --- who may come in --------------------------------------------------------------------------

GUARDED = ServerSettings(token="s3cret")


@pytest.mark.parametrize(
    ("path", "authorization"),
    [
        ("/ingest", "Bearer s3cret"),
        ("/ingest", "bearer  s3cret "),
        ("/", "Bearer s3cret"),
        ("/ingest?token=s3cret", None),
    ],
)
def test_who_has_the_token_may_send(path: str, authorization: str | None) -> None:
    assert visit(upgrade(path, settings=GUARDED, Authorization=authorization)).sends


@pytest.mark.parametrize(
    ("path", "authorization"),
    [
        ("/ingest", None),
        ("/ingest", "Bearer wrong"),
        ("/ingest", "Bearer s3cre"),
        ("/ingest", "Bearer s3cret2"),
        ("/ingest", "Basic s3cret"),
        ("/ingest", "Bearer"),
        ("/ingest?token=", None),
        ("/ingest?token=wrong", None),
    ],
)
def test_who_has_not_may_not(path: str, authorization: str | None) -> None:
    status, response = answer(upgrade(path, settings=GUARDED, Authorization=authorization))
    assert status == 401
    assert response.headers["WWW-Authenticate"] == "Bearer"
    assert b"s3cret" not in response.body


def test_without_the_token_one_may_still_listen() -> None:
    assert visit(upgrade("/ticks", settings=GUARDED)).receives
    found = visit(upgrade("/", settings=GUARDED))
    assert (found.sends, found.receives) == (False, True)


@pytest.mark.parametrize(
    ("origin", "welcome"),
    [
        (None, True),
        ("http://relay:8080", True),
        ("https://relay:8080", True),
        ("https://desk.example", True),
        ("http://relay:9090", False),
        ("https://evil.example", False),
        ("null", False),
        ("", False),
    ],
)
def test_pages_of_other_origins_may_not_connect(origin: str | None, welcome: bool) -> None:
    settings = ServerSettings(origins=("https://desk.example",))
    found = upgrade("/ticks", settings=settings, Origin=origin)
    assert isinstance(found, Visit) is welcome
    if not welcome:
        assert answer(found)[0] == 403


def test_one_client_more_than_there_may_be_is_told_to_come_later() -> None:
    settings = ServerSettings(max_clients=2)
    assert visit(upgrade("/ticks", clients=1, settings=settings))
    status, response = answer(upgrade("/ticks", clients=2, settings=settings))
    assert status == 503
    assert response.headers["Retry-After"] == "1"
    assert answer(judge("/healthz", clients=2, settings=settings))[0] == 200


@given(st.binary(max_size=300))
def test_whatever_comes_gets_a_whole_answer_or_is_let_in(junk: bytes) -> None:
    reception = Reception(msgspec.structs.replace(GUARDED), lambda: 0, lambda: HEALTH)
    head = junk.replace(b"\r\n\r\n", b"") + b"\r\n\r\n"
    assert answer(reception.judge(head))[0] == 400


@given(st.text(string.printable, max_size=40), st.sampled_from(["GET", "HEAD", "PUT"]))
def test_whatever_path_is_asked_for_gets_a_whole_answer(path: str, method: str) -> None:
    asked = "/" + path.replace("\r", "").replace("\n", "").replace(" ", "")
    status, _ = answer(judge(asked, method), method)
    assert status in {200, 404, 405, 426, 400}
