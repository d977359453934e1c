from pathlib import Path

import pytest
from authority import Authority
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from vecserve_server.listening.certificates import Certificates
from vecserve_server.listening.errors import FileError


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def refusal(certificate: Path, key: Path, authorities: Path | None = None) -> str:
    with pytest.raises(FileError) as refused:
        Certificates(certificate, key, authorities)
    return str(refused.value)


def test_a_certificate_is_described_by_its_names_and_its_end(authority: Authority) -> None:
    certificate, key = authority.issue()

    described = str(Certificates(certificate, key, authority.file).files.value)

    assert described.startswith("localhost, 127.0.0.1, valid until 20")


def test_files_that_hold_something_else_are_told_by_name(authority: Authority, tmp_path: Path) -> None:
    certificate, key = authority.issue()
    junk = tmp_path / "junk"
    junk.write_text("junk")

    assert refusal(junk, key) == f"{junk} holds no certificates as PEM, or not only whole ones"
    assert refusal(certificate, junk) == f"{junk} holds no private key as PEM"
    assert refusal(certificate, key, junk) == f"{junk} holds no certificates as PEM, or not only whole ones"
    assert refusal(certificate, tmp_path / "none") == f"{tmp_path / 'none'} can't be read: No such file or directory"
    assert refusal(tmp_path, key) == f"{tmp_path} can't be read: Is a directory"


def test_a_certificate_that_is_cut_off_is_refused(authority: Authority) -> None:
    certificate, key = authority.issue()
    whole = certificate.read_bytes()
    for length in (0, 100, len(whole) - 40):
        certificate.write_bytes(whole[:length])
        assert "holds no certificates as PEM" in refusal(certificate, key)


def test_the_key_of_another_certificate_is_refused(authority: Authority) -> None:
    certificate, _ = authority.issue("one")
    _, key = authority.issue("other")

    assert refusal(certificate, key) == f"{key} is not the key of the first certificate in {certificate}"


def test_an_encrypted_key_is_refused_and_its_contents_are_not_told(authority: Authority) -> None:
    certificate, key = authority.issue()
    private = load_pem_private_key(key.read_bytes(), None)
    form = Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")
    key.write_bytes(private.private_bytes(*form))

    assert refusal(certificate, key) == f"{key} holds a key that is encrypted: gRPC takes it only without a password"


def test_an_expired_certificate_is_served_with_a_warning(
    authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    certificate, key = authority.issue(expired=True)

    Certificates(certificate, key, None)

    assert "and not now: clients will refuse it" in caplog.text
