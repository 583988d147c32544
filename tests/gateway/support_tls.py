"""A throw-away certificate authority and a server certificate for 127.0.0.1."""

import datetime as dt
import ipaddress
import ssl
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from gateway.http11_binding import tls_context

_DAY = dt.timedelta(days=1)


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _builder(
    subject: str, issuer: str, key: ec.EllipticCurvePrivateKey
) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(_name(subject))
        .issuer_name(_name(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _DAY)
        .not_valid_after(now + _DAY)
    )


def authority(folder: Path) -> Path:
    """Where `tls_pair` leaves the authority's certificate, for other processes."""
    return folder / "authority.pem"


def tls_pair(folder: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """The server's context (ALPN h2 and http/1.1) and one for clients to trust it."""
    ca_key = ec.generate_private_key(ec.SECP256R1())
    ca = (
        _builder("test authority", "test authority", ca_key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(ca_key, hashes.SHA256())
    )
    key = ec.generate_private_key(ec.SECP256R1())
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    leaf = (
        _builder("test server", "test authority", key)
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    certfile, keyfile = folder / "server.pem", folder / "server.key"
    certfile.write_bytes(leaf.public_bytes(pem))
    keyfile.write_bytes(
        key.private_bytes(
            pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    authority(folder).write_bytes(ca.public_bytes(pem))
    client = ssl.create_default_context(cadata=ca.public_bytes(pem).decode())
    # Python 3.13 asks for key identifiers, which a throw-away authority has not.
    client.verify_flags &= ~getattr(ssl, "VERIFY_X509_STRICT", 0)
    return tls_context(str(certfile), str(keyfile)), client
