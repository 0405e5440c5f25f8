"""The certificates of a mesh: who may sign them, who has one, and a server that takes Envoy's alone.

Two authorities: `services` signs what servers show; `callers` signs what Envoy shows to them, and nobody else has one
of those. A file holds key and certificate together, so that a rename replaces both at once; servers and Envoy take the
new ones at the next connection. Whoever has authorities of its own puts its files in place: what is there stays.
"""

import datetime
import ipaddress
from collections.abc import Iterable
from pathlib import Path

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from services.mesh import SERVICES, Mesh
from services.runtime.credentials import write_private

SERVERS = (*(service.name for service in SERVICES), "bridge", "ratelimit", "user-jwks")
CALLER = "envoy"
SERVICES_CA, CALLERS_CA = "services-ca", "callers-ca"
AUTHORITY_DAYS, DAYS = 3650, 365

_Key = ec.EllipticCurvePrivateKey


def certificate_path(mesh: Mesh, name: str) -> Path:
    """Returns the file with a process's key and certificate, or, of an authority, with its certificate alone."""
    return mesh.tls_dir / f"{name}.pem"


def make_certificates(mesh: Mesh) -> None:
    """Makes what is missing."""
    mesh.tls_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    for authority in (SERVICES_CA, CALLERS_CA):
        if not certificate_path(mesh, authority).exists():
            _make_authority(mesh, authority)
    issue(mesh, [name for name in (*SERVERS, CALLER) if not certificate_path(mesh, name).exists()])


def issue(mesh: Mesh, names: Iterable[str] = (*SERVERS, CALLER)) -> None:
    """Replaces certificates by new ones. SystemExit where the key of their authority is not here."""
    for name in names:
        write_private(certificate_path(mesh, name), _issued(mesh, name))


def server_credentials(mesh: Mesh, name: str) -> grpc.ServerCredentials | None:
    """Returns credentials with which a server takes Envoy's calls alone; None in a mesh that talks in plain text."""
    if not mesh.mtls:
        return None
    own, callers = certificate_path(mesh, name), certificate_path(mesh, CALLERS_CA)
    held = _stamps(own, callers)

    def read() -> grpc.ServerCertificateConfiguration:
        pair = own.read_bytes()
        return grpc.ssl_server_certificate_configuration([(pair, pair)], callers.read_bytes())

    def fetch() -> grpc.ServerCertificateConfiguration | None:
        """Called before each handshake; None leaves things as they are."""
        nonlocal held
        if (now := _stamps(own, callers)) == held:
            return None
        held = now
        return read()

    # The stubs do not know of None.
    return grpc.dynamic_ssl_server_credentials(read(), fetch, require_client_authentication=True)  # type: ignore[arg-type]


def caller_credentials(mesh: Mesh) -> grpc.ChannelCredentials:
    """Returns the credentials of Envoy itself, for the launcher that asks whether a server is up."""
    pair = certificate_path(mesh, CALLER).read_bytes()
    return grpc.ssl_channel_credentials(certificate_path(mesh, SERVICES_CA).read_bytes(), pair, pair)


def server_name(name: str) -> str:
    """Returns the name in a server's certificate."""
    return f"{name}.mesh"


def _stamps(*paths: Path) -> list[tuple[int, int]]:
    return [(stat.st_ino, stat.st_mtime_ns) for stat in map(Path.stat, paths)]


def _make_authority(mesh: Mesh, name: str) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    builder = _builder(name, key, issuer=name, days=AUTHORITY_DAYS)
    certificate = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True).sign(
        key, hashes.SHA256()
    )
    write_private(authority_key_path(mesh, name), _pem(key))
    write_private(certificate_path(mesh, name), certificate.public_bytes(serialization.Encoding.PEM))


def _issued(mesh: Mesh, name: str) -> bytes:
    authority = CALLERS_CA if name == CALLER else SERVICES_CA
    try:
        signing = serialization.load_pem_private_key(authority_key_path(mesh, authority).read_bytes(), None)
    except FileNotFoundError as error:
        raise SystemExit(f"{error.filename}: without this key put a certificate for {name} in place yourself") from None
    if not isinstance(signing, _Key):
        raise SystemExit(f"{authority_key_path(mesh, authority)}: not an elliptic curve key")
    key = ec.generate_private_key(ec.SECP256R1())
    usage = ExtendedKeyUsageOID.CLIENT_AUTH if name == CALLER else ExtendedKeyUsageOID.SERVER_AUTH
    names = [x509.DNSName(server_name(name)), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    certificate = (
        _builder(name, key, issuer=authority, days=DAYS)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(signing, hashes.SHA256())
    )
    return _pem(key) + certificate.public_bytes(serialization.Encoding.PEM)


def _builder(name: str, key: _Key, *, issuer: str, days: int) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        # A clock that is a little behind takes it too.
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=days))
    )


def authority_key_path(mesh: Mesh, name: str) -> Path:
    """Returns the file with an authority's private key."""
    return mesh.tls_dir / f"{name}.key"


def _pem(key: _Key) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
