"""The certificate that signs pictures' files: the operator's own, or one that was made here.

A certificate that C2PA takes is for signing documents or e-mail, and not its own issuer
(https://spec.c2pa.org/specifications/specifications/2.2/specs/C2PA_Specification.html, 14.5.1).
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from stable_diffusion.cache import cache_folder
from stable_diffusion.catalogue import SetupError

ORGANIZATION = "Stable Diffusion, self-hosted"
"""The name in certificates that are made here: nothing of the machine or its operator."""
VALID_DAYS = 3650
"""Days that a certificate which was made here is valid."""
LEFT_DAYS = 30
"""Days that one must still be valid at a start, else another is made."""
ALGORITHMS = {"secp256r1": "es256", "secp384r1": "es384", "secp521r1": "es512"}
"""C2PA's names of the signatures by an elliptic curve, by the curve's name."""
USAGES = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
    "encipher_only",
    "decipher_only",
)


@dataclass(frozen=True)
class Certificate:
    """What a signer signs with.

    chain: PEM: the signer's certificate, and those of who issued it.
    key: PEM: the private key.
    algorithm: C2PA's name of the signature, such as `es256`.
    """

    chain: bytes
    key: bytes
    algorithm: str


def find(environment: Mapping[str, str]) -> Certificate:
    """Return the operator's certificate, or else one that was made here and is kept in the cache.

    Args:
        environment: names it by the paths of two PEM files, `C2PA_CERTIFICATE` and `C2PA_KEY`.

    Raises:
        SetupError: when only one is named, or one can't be read.
    """
    chain, key = (environment.get(name) for name in ("C2PA_CERTIFICATE", "C2PA_KEY"))
    if not (chain or key):
        return _self_signed(cache_folder("c2pa") / "self-signed.pem")
    if not (chain and key):
        given, missing = ("CERTIFICATE", "KEY") if chain else ("KEY", "CERTIFICATE")
        raise SetupError(
            f"C2PA_{given} is given without C2PA_{missing}; give both, or none for a "
            "self-signed certificate"
        )
    return _read(_bytes("C2PA_CERTIFICATE", chain), _bytes("C2PA_KEY", key))


def _bytes(setting: str, path: str) -> bytes:
    try:
        return Path(path).expanduser().read_bytes()
    except (OSError, RuntimeError) as error:  # RuntimeError: there is no home.
        raise SetupError(f"{setting} is {path!r}, which can't be read: {error}") from None


def _read(chain: bytes, key: bytes) -> Certificate:
    """Return what signs by these.

    Raises:
        SetupError: when they are no certificate, and no key that can sign.
    """
    try:
        certificates = x509.load_pem_x509_certificates(chain)
    except ValueError as error:
        raise SetupError(f"C2PA_CERTIFICATE has no certificates in PEM: {error}") from None
    try:
        private = load_pem_private_key(key, password=None)
    except (ValueError, TypeError) as error:  # TypeError: it has a password.
        raise SetupError(f"C2PA_KEY has no key in PEM without a password: {error}") from None
    match private:
        case ec.EllipticCurvePrivateKey() if private.curve.name in ALGORITHMS:
            algorithm = ALGORITHMS[private.curve.name]
        case ed25519.Ed25519PrivateKey():
            algorithm = "ed25519"
        case rsa.RSAPrivateKey():
            algorithm = "ps256"
        case _:
            raise SetupError(
                "C2PA_KEY is of a kind that C2PA doesn't know; give one of RSA, Ed25519, or the "
                "curve P-256, P-384 or P-521"
            )
    # Nothing but certificates, and the key in the one form that the library reads of all kinds.
    chain = b"".join(one.public_bytes(Encoding.PEM) for one in certificates)
    key = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return Certificate(chain, key, algorithm)


def _self_signed(file: Path) -> Certificate:
    """Return the certificate in a file of key and chain; make it where there is none in force.

    Of several processes that make it at once, all get that of the first.
    """
    with suppress(FileNotFoundError):
        pair = file.read_bytes()
        if _days_left(pair) > LEFT_DAYS:
            return _read(pair, pair)
        file.unlink(missing_ok=True)
    descriptor, part = tempfile.mkstemp(dir=file.parent)  # for this account's eyes alone
    try:
        with os.fdopen(descriptor, "wb") as opened:
            opened.write(_make())
        with suppress(FileExistsError):
            os.link(part, file)
    finally:
        Path(part).unlink()
    pair = file.read_bytes()
    return _read(pair, pair)


def _days_left(chain: bytes) -> float:
    end = x509.load_pem_x509_certificate(chain).not_valid_after_utc
    return (end - datetime.now(UTC)) / timedelta(days=1)


def _make() -> bytes:
    """Make a key, its certificate, and that of an issuer whose key is forgotten; all in PEM."""
    issuer_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    issuer_name, name = _name("Issuer"), _name("Content Credentials")
    issuer = (
        _builder(issuer_name, issuer_name, issuer_key.public_key(), "key_cert_sign")
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(issuer_key, hashes.SHA256())
    )
    usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION])
    parent = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key())
    certificate = (
        _builder(name, issuer_name, key.public_key(), "digital_signature")
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage, critical=False)
        .add_extension(parent, critical=False)
        .sign(issuer_key, hashes.SHA256())
    )
    return b"".join(
        [
            key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
            certificate.public_bytes(Encoding.PEM),
            issuer.public_bytes(Encoding.PEM),
        ]
    )


def _name(common: str) -> x509.Name:
    texts = ((NameOID.ORGANIZATION_NAME, ORGANIZATION), (NameOID.COMMON_NAME, common))
    return x509.Name([x509.NameAttribute(kind, text) for kind, text in texts])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, usage: str
) -> x509.CertificateBuilder:
    """Return what both certificates have: from yesterday on, as clocks differ."""
    start = datetime.now(UTC) - timedelta(days=1)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=VALID_DAYS))
        .add_extension(x509.KeyUsage(*(name == usage for name in USAGES)), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )
