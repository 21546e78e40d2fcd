"""What a request to the relay's port is answered with: a place among its clients, or a page.

Pure: from a request's head to a `Visit` or an `Answer`. The handshake's rules (RFC 6455, 4.2.1) are
those of `websockets`' protocol without I/O, whichever library then talks to the client.
"""

from __future__ import annotations

import dataclasses
import hmac
import json
import urllib.parse
from collections.abc import Callable
from http import HTTPStatus
from typing import Final

from websockets.datastructures import Headers
from websockets.exceptions import InvalidHeader
from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory
from websockets.http11 import Request, Response
from websockets.server import ServerProtocol
from websockets.streams import StreamReader

from latbench import __version__
from latbench.plan import ServerSettings

INGEST_PATHS: Final = ("/", "/ingest")
TICKS_PATH: Final = "/ticks"
HEALTH_PATH: Final = "/healthz"

DEFLATE_WINDOW_BITS: Final = 9
"""Of what the relay compresses: the smallest zlib has, which every client takes that leaves the
choice (RFC 7692, 7.1.2.1). A tick is compressed by itself, so more would find nothing more."""
DEFLATE: Final = ServerPerMessageDeflateFactory(
    server_no_context_takeover=True,  # so that a tick is compressed once for all who want it
    server_max_window_bits=DEFLATE_WINDOW_BITS,
    client_no_context_takeover=True,
)

_ABOUT: Final = f"""\
latbench {__version__}: the relay of a market-data pipeline (WebSocket to Kafka)

  /         WebSocket: send ticks, or receive all that come until the first is sent
  /ingest   WebSocket: send ticks
  /ticks    WebSocket: receive ticks; /ticks?symbols=NIFTY,TCS only these
  /healthz  what it is doing, as JSON
"""


@dataclasses.dataclass(frozen=True, slots=True)
class Visit:
    """A client that may come in."""

    sends: bool
    receives: bool
    symbols: frozenset[str] | None = None
    """Those whose ticks it wants; None: of all."""
    request: bytes = b""
    """The request once more, with nothing in it but what the handshake is about."""
    deflates: bool = False
    """Whether permessage-deflate was agreed on."""


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """A page, after which the connection is closed."""

    status: int
    head: bytes
    body: bytes

    @property
    def data(self) -> bytes:
        """What goes over the wire."""
        return self.head + self.body


class Reception:
    """Decides about requests.

    `describe` gives what `/healthz` tells; `clients` how many are in.
    """

    def __init__(
        self,
        settings: ServerSettings,
        clients: Callable[[], int],
        describe: Callable[[], dict[str, object]],
        *,
        deflates: bool = False,
    ) -> None:
        self._settings = settings
        self._clients = clients
        self._describe = describe
        self._extensions = [DEFLATE] if deflates else None

    def judge(self, head: bytes) -> Visit | Answer:
        """Decide about one request, all of its head and nothing else."""
        try:
            request = _parse(head)
        except (ValueError, EOFError, NotImplementedError, InvalidHeader) as error:
            return _answer(HTTPStatus.BAD_REQUEST, f"this is no HTTP request: {error}\n")
        path, _, query = request.path.partition("?")
        wants_page = "Upgrade" not in request.headers
        if wants_page and request.method not in {"GET", "HEAD"}:
            return _answer(
                HTTPStatus.METHOD_NOT_ALLOWED, f"no {request.method} here\n", Allow="GET, HEAD"
            )
        if path == HEALTH_PATH:
            text = json.dumps(self._describe()) + "\n"
            return _answer(HTTPStatus.OK, text, request.method, kind="application/json")
        if path == "/" and wants_page:
            return _answer(HTTPStatus.OK, _ABOUT, request.method)
        if path not in {*INGEST_PATHS, TICKS_PATH}:
            return _answer(
                HTTPStatus.NOT_FOUND, f"nothing is at {path!r}\n\n{_ABOUT}", request.method
            )
        return self._judge_client(request, path, query)

    def _judge_client(self, request: Request, path: str, query: str) -> Visit | Answer:
        settings = self._settings
        asked = urllib.parse.parse_qs(query)
        sends = path in INGEST_PATHS
        if not self._is_welcome_from(request):
            origin = request.headers.get("Origin", "")
            return _answer(
                HTTPStatus.FORBIDDEN, f"pages of {origin} may not come here (--origin)\n"
            )
        if settings.token and sends and not _has_token(request, asked, settings.token):
            if path != "/":
                answer = "ticks are taken with a token only: Authorization: Bearer TOKEN\n"
                headers = {"WWW-Authenticate": "Bearer"}
                return _answer(HTTPStatus.UNAUTHORIZED, answer, **headers)
            sends = False  # it may listen
        if self._clients() >= settings.max_clients:
            text = f"{settings.max_clients} clients are here, no more may come (--max-clients)\n"
            return _answer(HTTPStatus.SERVICE_UNAVAILABLE, text, **{"Retry-After": "1"})
        handshake = ServerProtocol(extensions=self._extensions)
        refusal = handshake.accept(request)
        if refusal.status_code != HTTPStatus.SWITCHING_PROTOCOLS:
            refusal.headers["Connection"] = "close"
            return _as_answer(refusal)
        return Visit(
            sends=sends,
            receives=path != "/ingest",
            symbols=_symbols(asked),
            request=_plain_request(request, deflates=bool(handshake.extensions)),
            deflates=bool(handshake.extensions),
        )

    def _is_welcome_from(self, request: Request) -> bool:
        """Whether a browser's page may connect (RFC 6455, 10.2); what is no browser says nothing.

        A page of this very address may, and those that the settings name.
        """
        origins = request.headers.get_all("Origin")
        if not origins:
            return True
        origin = origins[0]
        host = request.headers.get("Host", "")
        same = {f"http://{host}", f"https://{host}"} if host else set()
        return len(origins) == 1 and (origin in same or origin in self._settings.origins)


def _parse(head: bytes) -> Request:
    reader = StreamReader()
    reader.feed_data(head)
    reader.feed_eof()
    parsing = Request.parse(reader.read_line)
    try:
        next(parsing)
    except StopIteration as end:
        request: Request = end.value
        return request
    raise EOFError("its head is not complete")


def _has_token(request: Request, asked: dict[str, list[str]], token: str) -> bool:
    """Whether the request has the token, compared in the same time whatever it has."""
    given = request.headers.get_all("Authorization")
    word, _, value = given[0].partition(" ") if given else ("", "", "")
    if word.lower() != "bearer":  # what a browser or wscat can give
        value = asked.get("token", [""])[0]
    return hmac.compare_digest(value.strip().encode(errors="surrogateescape"), token.encode())


def _symbols(asked: dict[str, list[str]]) -> frozenset[str] | None:
    named = [name.strip() for value in asked.get("symbols", ()) for name in value.split(",")]
    return frozenset(filter(None, named)) or None


def _plain_request(request: Request, *, deflates: bool) -> bytes:
    """The request as every library takes it.

    `picows` refuses what others are glad of, such as Firefox's `Connection: keep-alive, Upgrade`.
    """
    headers = Headers(
        {
            "Host": request.headers.get("Host", "relay"),
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Key": request.headers["Sec-WebSocket-Key"].strip(),
            "Sec-WebSocket-Version": "13",
        }
    )
    if deflates:
        for offer in request.headers.get_all("Sec-WebSocket-Extensions"):
            headers["Sec-WebSocket-Extensions"] = offer
    return Request(request.path, headers).serialize()


def _answer(
    status: HTTPStatus,
    text: str,
    method: str = "GET",
    *,
    kind: str = "text/plain; charset=utf-8",
    **headers: str,
) -> Answer:
    body = text.encode(errors="replace")
    all_headers = Headers(
        {
            "Content-Type": kind,
            "Content-Length": str(len(body)),
            "Connection": "close",
            "Server": f"latbench/{__version__}",
            **headers,
        }
    )
    response = Response(status.value, status.phrase, all_headers, body)
    return _as_answer(response, method)


def _as_answer(response: Response, method: str = "GET") -> Answer:
    head = Response(response.status_code, response.reason_phrase, response.headers).serialize()
    return Answer(response.status_code, head, b"" if method == "HEAD" else bytes(response.body))
