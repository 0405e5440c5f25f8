"""How Envoy shows itself, and whom it takes for what: mTLS by certificates in files that may change.

To the services it is the one caller they take; on its internal listener it takes the mesh's own processes alone.
"""

from pathlib import Path

from envoy.notation import Node, to_yaml, typed
from services.mesh import Mesh
from services.runtime.certificates import CALLER, DOOR, MEMBERS_CA, SERVICES_CA, certificate_path, server_name

_OWN, _TRUST = "own", "trust"
_DOOR, _MEMBERS = "door", "members"
_TLS = {"tls_minimum_protocol_version": "TLSv1_3", "tls_maximum_protocol_version": "TLSv1_3"}
"""Upstream the default is at most 1.2."""


def secret_files(mesh: Mesh) -> dict[Path, str]:
    """Returns the secrets by their path; none in a mesh that talks in plain text. They name files, and hold no key."""
    if not mesh.mtls:
        return {}
    pairs, trusted = {_OWN: CALLER, _DOOR: DOOR}, {_TRUST: SERVICES_CA, _MEMBERS: MEMBERS_CA}
    return {
        **{_path(mesh, secret): _secret(secret, tls_certificate=_pair(mesh, name)) for secret, name in pairs.items()},
        **{
            _path(mesh, secret): _secret(secret, validation_context=_ca(mesh, name)) for secret, name in trusted.items()
        },
    }


def transport(mesh: Mesh, cluster: str, *, alpn: str = "h2") -> Node:
    """Returns how a cluster is spoken to: by TLS 1.3, both sides known by their certificates, if the mesh does so."""
    if not mesh.mtls:
        return {}
    name = server_name(cluster)
    named = {"match_typed_subject_alt_names": [{"san_type": "DNS", "matcher": {"exact": name}}]}
    context = typed(
        "extensions.transport_sockets.tls.v3.UpstreamTlsContext",
        sni=name,
        common_tls_context={
            "tls_params": _TLS,
            "alpn_protocols": [alpn],
            "tls_certificate_sds_secret_configs": [_reference(mesh, _OWN)],
            "combined_validation_context": {
                "default_validation_context": named,
                "validation_context_sds_secret_config": _reference(mesh, _TRUST),
            },
        },
    )
    return _socket(context)


def door(mesh: Mesh) -> Node:
    """Returns how the internal listener is spoken to: by whoever has a certificate of a member of the mesh."""
    if not mesh.mtls:
        return {}
    context = typed(
        "extensions.transport_sockets.tls.v3.DownstreamTlsContext",
        require_client_certificate=True,
        common_tls_context={
            "tls_params": _TLS,
            "alpn_protocols": ["h2"],
            "tls_certificate_sds_secret_configs": [_reference(mesh, _DOOR)],
            "validation_context_sds_secret_config": _reference(mesh, _MEMBERS),
        },
    )
    return _socket(context)


def _socket(context: Node) -> Node:
    return {"transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": context}}


def _pair(mesh: Mesh, name: str) -> Node:
    file = {"filename": str(certificate_path(mesh, name))}
    return {"certificate_chain": file, "private_key": file, **_watched(mesh)}


def _ca(mesh: Mesh, name: str) -> Node:
    return {"trusted_ca": {"filename": str(certificate_path(mesh, name))}, **_watched(mesh)}


def _watched(mesh: Mesh) -> Node:
    """Returns where a rename is noticed; nothing but certificates is renamed there."""
    return {"watched_directory": {"path": str(mesh.tls_dir)}}


def _path(mesh: Mesh, secret: str) -> Path:
    return mesh.state_dir / "envoy" / "secrets" / f"{secret}.yaml"


def _reference(mesh: Mesh, secret: str) -> Node:
    source = {"path_config_source": {"path": str(_path(mesh, secret))}, "resource_api_version": "V3"}
    return {"name": secret, "sds_config": source}


def _secret(name: str, **content: Node) -> str:
    secret = typed("extensions.transport_sockets.tls.v3.Secret", name=name, **content)
    return to_yaml({"resources": [secret]})
