"""A small capture in the form of a real one: what an exchange sends after a subscription."""

from __future__ import annotations

from pathlib import Path

from latbench.replay import read_recorded

MESSAGES = (
    b'{"type":"subscriptions","channels":[{"name":"level2","product_ids":["BAND-GBP","SKL-GBP"]}]}',
    b'{"type":"snapshot","product_id":"BAND-GBP","asks":[["14.8024","12.77"],["14.8069","12.49"]],'
    b'"bids":[["14.7550","3.1"]]}',
    b'{"type":"ticker","sequence":333938798,"product_id":"BAND-GBP","price":"14.7775",'
    b'"best_bid":"14.7550","best_ask":"14.8060","time":"2021-04-17T16:43:30.244075Z"}',
    b'{"type":"last_match","trade_id":82007,"side":"buy","size":"1008.2","price":"0.5752",'
    b'"product_id":"SKL-GBP","sequence":27883326}',
    b'{"type":"l2update","product_id":"SKL-GBP","changes":[["sell","0.5767","0.0"]],'
    b'"time":"2021-04-17T16:44:07.859760Z"}',
    b'{"type":"match","trade_id":82008,"side":"sell","size":"7","price":"0.5751",'
    b'"product_id":"SKL-GBP","note":"{\\"nested\\": \xe2\x82\xac}"}',
)
STAMPS = (
    b"1618677817.061845",
    b"1618677817.0618958",
    b"1618677817.07979",
    b"1618677817.07979",
    b"1618677817.1",
    b"1618677818",
)
STAMPS_NS = (
    1618677817_061845000,
    1618677817_061895800,
    1618677817_079790000,
    1618677817_079790000,
    1618677817_100000000,
    1618677818_000000000,
)
SYMBOLS = ("", "BAND-GBP", "BAND-GBP", "SKL-GBP", "SKL-GBP", "SKL-GBP")
HEADERS = (
    b"wss://ws-feed.pro.coinbase.com <-> 1618677816.8434298",
    b'wss://ws-feed.pro.coinbase.com <- 1618677817.020616: {"type":"subscribe","product_ids":[]}',
)


def capture_lines() -> list[bytes]:
    """Two headers, six messages, two blank lines at the end."""
    messages = [b"%b: %b" % pair for pair in zip(STAMPS, MESSAGES, strict=True)]
    return [*HEADERS, *messages, b"", b""]


def write_capture(path: Path, lines: list[bytes] | None = None) -> Path:
    """Write `lines`, by default those of `capture_lines`."""
    path.write_bytes(b"".join(line + b"\n" for line in lines or capture_lines()))
    return path


def rows(path: Path) -> list[tuple[int, str, bytes]]:
    """Moment, symbol and document of all that a file holds."""
    return [
        row
        for batch in read_recorded(path)
        for row in zip(batch.unix_ns, batch.symbols, batch.documents, strict=True)
    ]
