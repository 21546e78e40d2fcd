"""Why a TLS connection was refused, in words."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from latbench.errors import reason
from tests.certificates import make_certificate


def test_a_refusal_by_tls_is_told_in_its_own_words(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    certificate, _ = make_certificate(tmp_path)
    _, key = make_certificate(tmp_path / "other")
    with pytest.raises(ssl.SSLError) as caught:
        ssl.create_default_context().load_cert_chain(certificate, key)
    assert reason(caught.value) == "key values mismatch"
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.reason = "CERTIFICATE_VERIFY_FAILED"
    error.verify_message = "self-signed certificate"
    assert reason(error) == "certificate verify failed: self-signed certificate"
    assert reason(OSError(28, "No space left on device")) == "no space left on device"
