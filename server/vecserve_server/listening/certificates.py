"""The server's certificate and key, and the authorities whose clients it lets in; replaced while it runs."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import grpc
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
    configuration: grpc.ServerCertificateConfiguration
    """The same as gRPC takes it."""

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
        self._given = self.files.value
        self._asks_clients = client_authorities is not None

    def credentials(self) -> grpc.ServerCredentials:
        """For gRPC, which asks before each handshake whether there is a new certificate.

        Connections that there are go on with the one they began with.
        """
        return grpc.dynamic_ssl_server_credentials(
            self._given.configuration,
            self._changed,  # pyright: ignore[reportArgumentType] (the stubs miss that None means no change)
            self._asks_clients,
        )

    def _changed(self) -> grpc.ServerCertificateConfiguration | None:
        """Called on a thread of gRPC, one at a time, while the connection waits."""
        current = self.files.value
        if current is self._given:
            return None
        self._given = current
        return current.configuration


def _parser(files: list[Path]) -> Callable[..., Certificate]:
    certificate_file, key_file, *authorities_file = files

    def parse(certificate: bytes, key: bytes, authorities: bytes | None = None) -> Certificate:
        chain = _certificates(certificate_file, certificate)
        _check_pair(certificate_file, chain[0], key_file, key)
        for file in authorities_file:
            _certificates(file, authorities or b"")
        _warn_if_not_valid(certificate_file, chain[0])
        configuration = grpc.ssl_server_certificate_configuration([(key, certificate)], authorities)
        return Certificate(_subject(chain[0]), chain[0].not_valid_after_utc, configuration)

    return parse


def _certificates(file: Path, contents: bytes) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(contents)
    except ValueError:
        raise FileError(f"{file} holds no certificates as PEM, or not only whole ones") from None


def _check_pair(certificate_file: Path, certificate: x509.Certificate, key_file: Path, key: bytes) -> None:
    try:
        private = load_pem_private_key(key, password=None)
    except TypeError:
        raise FileError(f"{key_file} holds a key that is encrypted: gRPC takes it only without a password") from None
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
