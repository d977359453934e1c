"""The server's certificate and key, and the authorities whose clients it lets in; replaced while it runs."""

import logging
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from vecserve_server.listening.errors import FileError
from vecserve_server.listening.watched import WatchedFiles

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Certificate:
    """What the server shows clients, and what they have to show."""

    subject: str
    expires: datetime
    context: ssl.SSLContext
    """For handshakes."""

    def __str__(self) -> str:
        return f"{self.subject}, valid until {self.expires:%Y-%m-%d %H:%M} UTC"


class Certificates:
    """Certificate, key and authorities in files of PEM, read anew when they change."""

    def __init__(self, certificate: Path, key: Path, client_authorities: Path | None) -> None:
        """Reads them. With `client_authorities`, clients need a certificate that one of these has signed.

        Raises:
            FileError: a file can't be read or used, or the key is not the certificate's.
        """
        files = [certificate, key, *filter(None, [client_authorities])]
        self.files = WatchedFiles("certificates", files, _parser(files))

    def context(self) -> ssl.SSLContext:
        """For a listener: each handshake takes the certificates of its moment, and connections keep theirs."""
        return _Current(lambda: self.files.value.context)


class _Current(ssl.SSLContext):
    """Stands for another context, which may be replaced."""

    def __new__(cls, current: Callable[[], ssl.SSLContext]) -> "_Current":  # noqa: ARG004 (for __init__)
        return super().__new__(cls, ssl.PROTOCOL_TLS_SERVER)

    def __init__(self, current: Callable[[], ssl.SSLContext]) -> None:
        self._current = current

    def wrap_bio(self, *arguments: Any, **options: Any) -> ssl.SSLObject:
        """What asyncio and uvloop begin each handshake with."""
        return self._current().wrap_bio(*arguments, **options)


def _parser(files: list[Path]) -> Callable[..., Certificate]:
    certificate_file, key_file, *authorities_file = files

    def parse(certificate: bytes, key: bytes, authorities: bytes | None = None) -> Certificate:
        chain = _certificates(certificate_file, certificate)
        _check_pair(certificate_file, chain[0], key_file, key)
        for file in authorities_file:
            _certificates(file, authorities or b"")
        _warn_if_not_valid(certificate_file, chain[0])
        context = _context(certificate_file, key_file, authorities)
        return Certificate(_subject(chain[0]), chain[0].not_valid_after_utc, context)

    return parse


def _context(certificate: Path, key: Path, authorities: bytes | None) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.set_alpn_protocols(["h2"])
    try:
        context.load_cert_chain(certificate, key)  # from the files, which are looked at again if they change meanwhile
        if authorities is not None:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(cadata=authorities.decode("latin-1"))
    except (OSError, ValueError) as error:
        raise FileError(f"{certificate} and {key} can't be used: {error}") from error
    return context


def _certificates(file: Path, contents: bytes) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(contents)
    except ValueError:
        raise FileError(f"{file} holds no certificates as PEM, or not only whole ones") from None


def _check_pair(certificate_file: Path, certificate: x509.Certificate, key_file: Path, key: bytes) -> None:
    try:
        private = load_pem_private_key(key, password=None)
    except TypeError:
        raise FileError(f"{key_file} holds a key that is encrypted: it has to be without a password") from None
    except (ValueError, UnsupportedAlgorithm):
        raise FileError(f"{key_file} holds no private key as PEM") from None
    form = Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    if private.public_key().public_bytes(*form) != certificate.public_key().public_bytes(*form):
        raise FileError(f"{key_file} is not the key of the first certificate in {certificate_file}")


def _subject(certificate: x509.Certificate) -> str:
    """The names that clients may know the server by, else the subject."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return certificate.subject.rfc4514_string()
    return ", ".join(str(name.value) for name in names)


def _warn_if_not_valid(file: Path, certificate: x509.Certificate) -> None:
    # Served all the same: whoever has mounted it may be able to connect to nothing else.
    if not certificate.not_valid_before_utc <= datetime.now(UTC) <= certificate.not_valid_after_utc:
        logger.warning(
            "the certificate in %s is valid from %s to %s, and not now: clients will refuse it",
            *(file, certificate.not_valid_before_utc, certificate.not_valid_after_utc),
        )
