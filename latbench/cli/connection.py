"""Addresses and secrets of WebSocket connections, as options have them."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from latbench.errors import UsageError
from latbench.plan import Connection


def parse_url(text: str) -> str:
    """A WebSocket address: `ws://` or `wss://`, a host, no fragment (RFC 6455, 3)."""
    hint = "write --url ws://localhost:8080"
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise UsageError(f"--url {text!r} is no address: {error}", hint) from None
    if parts.scheme not in {"ws", "wss"}:
        raise UsageError(f"--url {text!r} is not ws:// or wss://", hint)
    if not parts.hostname or port == 0:
        raise UsageError(f"--url {text!r} names no host and port", hint)
    if parts.fragment:
        raise UsageError(f"--url {text!r} has a fragment", hint)
    if parts.username or parts.password:
        raise UsageError("--url has a user and a password in it", "give --token instead")
    return text


def parse_connection(token: str, tls_ca: Path | None) -> Connection:
    """What a client needs besides."""
    if any(not "!" <= character <= "~" for character in token):
        raise UsageError("--token has a blank or what is not ASCII", "use letters and digits")
    if tls_ca is not None and not tls_ca.is_file():
        raise UsageError(f"--tls-ca {tls_ca} is no file", "give a file of PEM certificates")
    return Connection(token=token, tls_ca=str(tls_ca or ""))
