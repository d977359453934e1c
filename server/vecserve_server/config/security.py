"""Who may call, and over what."""

from pathlib import Path
from typing import Self

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings

from vecserve_server.api.tokens import Exempt


class SecuritySettings(BaseSettings):
    """TLS and tokens. Their files are read again when they change."""

    tls_cert: Path | None = Field(
        default=None,
        description="file of the server's certificate, and those between it and its authority, as PEM; without it, "
        "connections are in plain text. All files of certificates and tokens may be replaced while the server runs",
    )
    tls_key: Path | None = Field(default=None, description="file of the certificate's private key, as PEM")
    tls_client_ca: Path | None = Field(
        default=None,
        description="file of authorities, as PEM: only clients with a certificate that one of them has signed connect",
    )
    tokens_file: Path | None = Field(
        default=None,
        description="file of bearer tokens, one a line, without one of which calls are refused; lines that begin with "
        "# are ignored",
    )
    tokens_exempt: list[Exempt] = Field(
        default=["health"],
        description="what needs no token: health, reflection, both as health,reflection, or [] for neither",
    )

    @model_validator(mode="after")
    def _has_a_key_for_its_certificate(self) -> Self:
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("--tls-cert and --tls-key go together, and only one of them is set")
        if self.tls_client_ca and not self.tls_cert:
            raise ValueError("--tls-client-ca needs --tls-cert and --tls-key: clients show certificates in TLS only")
        return self
