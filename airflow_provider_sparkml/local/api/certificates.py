"""The cluster's own certificate authority and its server certificate: kubectl sends its token over TLS alone."""

from __future__ import annotations

import ipaddress
import socket
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from airflow_provider_sparkml.local.statedir import write_private

_VALID = timedelta(days=3650)
_RENEW = timedelta(days=365)
_NAMES = ("localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", socket.gethostname())
_ADDRESSES = ("127.0.0.1", "::1")


@dataclass(frozen=True, slots=True)
class Certificates:
    """What the server shows, and by what it is recognised.

    :param authority: certificate of the authority in PEM form: what clients trust.
    :param server: file with the server's certificate and key.
    """

    authority: str
    server: Path

    def context(self) -> ssl.SSLContext:
        """Return the server's side of TLS."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self.server)
        context.set_alpn_protocols(["http/1.1"])
        return context


def load_certificates(directory: Path) -> Certificates:
    """Return the certificates kept in a directory, made when there are none or they are about to expire."""
    authority, server = directory / "ca.crt", directory / "server.pem"
    if not (authority.exists() and server.exists() and _is_good(authority.read_bytes())):
        trusted, shown = _make()
        write_private(server, shown)
        write_private(authority, trusted)
    return Certificates(authority.read_text(), server)


def _is_good(pem: bytes) -> bool:
    return x509.load_pem_x509_certificate(pem).not_valid_after_utc > datetime.now(UTC) + _RENEW


def _make() -> tuple[str, str]:
    """Make an authority, sign a server certificate with it, and forget the authority's key."""
    authority_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sparkml local cluster")])
    key_usage = x509.KeyUsage(
        digital_signature=True, key_cert_sign=True, crl_sign=True, content_commitment=False, key_encipherment=False,
        data_encipherment=False, key_agreement=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip
    authority = (
        _begin(issuer, issuer, authority_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(key_usage, critical=True)
        .sign(authority_key, hashes.SHA256())
    )
    addresses = [x509.IPAddress(ipaddress.ip_address(address)) for address in _ADDRESSES]
    names = [x509.DNSName(name) for name in dict.fromkeys(_NAMES)]
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "kube-apiserver")])
    public = authority_key.public_key()
    certificate = (
        _begin(subject, issuer, key.public_key())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([*addresses, *names]), critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(public), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return authority.public_bytes(pem).decode(), (certificate.public_bytes(pem) + private).decode()


def _begin(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + _VALID)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )
