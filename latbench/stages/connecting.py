"""What a client of a relay says and trusts, whichever library it connects with."""

from __future__ import annotations

import ssl

from latbench.errors import LatbenchError
from latbench.plan import Connection


def headers(connection: Connection) -> dict[str, str]:
    """What a request has besides the handshake's own."""
    return {"Authorization": f"Bearer {connection.token}"} if connection.token else {}


def refused(url: str, status: int, body: bytes | None) -> LatbenchError:
    """What is told when the server's answer is no 101."""
    said = (body or b"").decode(errors="replace").strip().splitlines()
    because = f": {said[0]}" if said else ""
    hint = "give --token, or LATBENCH_TOKEN" if status == 401 else "see --url"
    return LatbenchError(f"{url} answers {status}{because}", hint)


def ssl_context(connection: Connection) -> ssl.SSLContext:
    """Trusts the system's authorities, or those of a file alone."""
    return ssl.create_default_context(cafile=connection.tls_ca or None)
