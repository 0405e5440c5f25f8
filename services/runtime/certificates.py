"""The certificates of a mesh: who may sign them, who has one, and a server that takes Envoy's alone.

Three authorities: `services` signs what servers show; `callers` signs what Envoy shows to them, and nobody else has one
of those; `members` signs what Envoy shows on its internal listener, and what processes show there. A file holds key and
certificate together, so that a rename replaces both at once; everybody takes the new ones at the next connection.
Whoever has authorities of its own puts its files in place: what is there stays.
"""

import datetime
import ipaddress
import ssl
from collections.abc import Iterable
from pathlib import Path

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from services.mesh import SERVICES, Mesh
from services.runtime.credentials import PROCESSES, write_private

SERVERS = (*(service.name for service in SERVICES), "bridge", "ratelimit", "user-jwks")
CALLER, DOOR = "envoy", "envoy-internal"
"""Envoy as it calls a service, and as it answers on its internal listener."""
MEMBERS = tuple(f"member-{name}" for name in PROCESSES)
"""Processes as they call Envoy's internal listener."""
ALL = (*SERVERS, CALLER, DOOR, *MEMBERS)
SERVICES_CA, CALLERS_CA, MEMBERS_CA = "services-ca", "callers-ca", "members-ca"
AUTHORITY_DAYS, DAYS = 3650, 365

_Key = ec.EllipticCurvePrivateKey


def certificate_path(mesh: Mesh, name: str) -> Path:
    """Returns the file with a process's key and certificate, or, of an authority, with its certificate alone."""
    return mesh.tls_dir / f"{name}.pem"


def make_certificates(mesh: Mesh) -> None:
    """Makes what is missing; Envoy's own is also made anew when the map has services that it does not name."""
    mesh.tls_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    for authority in (SERVICES_CA, CALLERS_CA, MEMBERS_CA):
        if not certificate_path(mesh, authority).exists():
            _make_authority(mesh, authority)
    issue(mesh, [name for name in ALL if not certificate_path(mesh, name).exists()])
    unnamed = set(_names_of(DOOR)) - _names_in(certificate_path(mesh, DOOR))
    if unnamed and authority_key_path(mesh, MEMBERS_CA).exists():
        issue(mesh, [DOOR])


def issue(mesh: Mesh, names: Iterable[str] = ALL) -> None:
    """Replaces certificates by new ones. SystemExit where the key of their authority is not here."""
    for name in names:
        write_private(certificate_path(mesh, name), _issued(mesh, name))


def server_credentials(mesh: Mesh, name: str) -> grpc.ServerCredentials | None:
    """Returns credentials with which a server takes Envoy's calls alone; None in a mesh that talks in plain text."""
    if not mesh.mtls:
        return None
    own, callers = certificate_path(mesh, name), certificate_path(mesh, CALLERS_CA)
    held = stamps(own, callers)

    def read() -> grpc.ServerCertificateConfiguration:
        pair = own.read_bytes()
        return grpc.ssl_server_certificate_configuration([(pair, pair)], callers.read_bytes())

    def fetch() -> grpc.ServerCertificateConfiguration | None:
        """Called before each handshake; None leaves things as they are."""
        nonlocal held
        if (now := stamps(own, callers)) == held:
            return None
        held = now
        return read()

    # The stubs do not know of None.
    return grpc.dynamic_ssl_server_credentials(read(), fetch, require_client_authentication=True)  # type: ignore[arg-type]


def server_context(mesh: Mesh, name: str) -> ssl.SSLContext | None:
    """Returns the same for a server of HTTP."""
    if not mesh.mtls:
        return None
    own, callers = certificate_path(mesh, name), certificate_path(mesh, CALLERS_CA)

    def read() -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.verify_mode = ssl.CERT_REQUIRED
        # A resumed session would let a caller in whose authority is not trusted any more.
        context.num_tickets = 0
        context.load_verify_locations(callers)
        context.load_cert_chain(own)
        return context

    held, fresh = stamps(own, callers), read()

    def renew(connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        """Called in each handshake: the connection goes on with the certificates as they are then."""
        nonlocal held, fresh
        if (now := stamps(own, callers)) != held:
            held, fresh = now, read()
        connection.context = fresh

    first = read()
    first.sni_callback = renew
    return first


def caller_credentials(mesh: Mesh) -> grpc.ChannelCredentials:
    """Returns the credentials of Envoy itself, for the launcher that asks whether a server is up."""
    pair = certificate_path(mesh, CALLER).read_bytes()
    return grpc.ssl_channel_credentials(certificate_path(mesh, SERVICES_CA).read_bytes(), pair, pair)


def member_path(mesh: Mesh, process: str) -> Path:
    """Returns the file with the key and certificate that a process shows on the internal listener."""
    return certificate_path(mesh, f"member-{process}")


def server_name(name: str) -> str:
    """Returns the name in a server's certificate."""
    return f"{name}.mesh"


def stamps(*paths: Path) -> list[tuple[int, int]]:
    """Returns what changes when one of the files is replaced."""
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
    authority = _authority_of(name)
    try:
        signing = serialization.load_pem_private_key(authority_key_path(mesh, authority).read_bytes(), None)
    except FileNotFoundError as error:
        raise SystemExit(f"{error.filename}: without this key put a certificate for {name} in place yourself") from None
    if not isinstance(signing, _Key):
        raise SystemExit(f"{authority_key_path(mesh, authority)}: not an elliptic curve key")
    key = ec.generate_private_key(ec.SECP256R1())
    calls = name in (CALLER, *MEMBERS)
    usage = ExtendedKeyUsageOID.CLIENT_AUTH if calls else ExtendedKeyUsageOID.SERVER_AUTH
    names = [*map(x509.DNSName, _names_of(name)), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    certificate = (
        _builder(name, key, issuer=authority, days=DAYS)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(signing, hashes.SHA256())
    )
    return _pem(key) + certificate.public_bytes(serialization.Encoding.PEM)


def _authority_of(name: str) -> str:
    if name == CALLER:
        return CALLERS_CA
    return MEMBERS_CA if name in (DOOR, *MEMBERS) else SERVICES_CA


def _names_of(name: str) -> list[str]:
    """Returns the names in a certificate. gRPC takes no `*.mesh`, and compares them with each call's authority."""
    if name == DOOR:
        return [server_name(CALLER), *(server_name(service.name) for service in SERVICES), server_name("bridge")]
    return [server_name(name)]


def _names_in(path: Path) -> set[str]:
    extensions = x509.load_pem_x509_certificate(path.read_bytes()).extensions
    names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return set(names.get_values_for_type(x509.DNSName))


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
