"""Certificates for tests."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import trustme


class Authority:
    """A certificate authority of its own, whose certificate is in a file."""

    def __init__(self, folder: Path, name: str = "authority") -> None:
        self._ca = trustme.CA()
        self._folder = folder
        self.file = folder / f"{name}.pem"
        self._ca.cert_pem.write_to_path(str(self.file))

    def issue(self, name: str = "server", *, expired: bool = False) -> tuple[Path, Path]:
        """Writes NAME.pem and NAME.key of a certificate for this machine, over those that are there, and returns them.

        Neither is replaced at once: a reader may find either of them half written.
        """
        now = datetime.now(UTC)
        expires = now - timedelta(days=1) if expired else now + timedelta(days=1)
        leaf = self._ca.issue_cert("localhost", "127.0.0.1", not_before=now - timedelta(days=2), not_after=expires)
        certificate, key = self._folder / f"{name}.pem", self._folder / f"{name}.key"
        certificate.write_bytes(b"".join(pem.bytes() for pem in leaf.cert_chain_pems))
        leaf.private_key_pem.write_to_path(str(key))
        return certificate, key
