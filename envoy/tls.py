"""How Envoy shows itself to the services, and whom it takes for them: mTLS by certificates in files that may change."""

from pathlib import Path

from envoy.notation import Node, to_yaml, typed
from services.mesh import Mesh
from services.runtime.certificates import CALLER, SERVICES_CA, certificate_path, server_name

_OWN, _TRUST = "own", "trust"


def secret_files(mesh: Mesh) -> dict[Path, str]:
    """Returns the secrets by their path; none in a mesh that talks in plain text. They name files, and hold no key."""
    if not mesh.mtls:
        return {}
    # A rename in the folder is noticed; nothing else is renamed there.
    watched = {"watched_directory": {"path": str(mesh.tls_dir)}}
    pair = {"filename": str(certificate_path(mesh, CALLER))}
    trusted = {"filename": str(certificate_path(mesh, SERVICES_CA))}
    own = {"tls_certificate": {"certificate_chain": pair, "private_key": pair, **watched}}
    trust = {"validation_context": {"trusted_ca": trusted, **watched}}
    return {_path(mesh, _OWN): _secret(_OWN, own), _path(mesh, _TRUST): _secret(_TRUST, trust)}


def transport(mesh: Mesh, cluster: str) -> Node:
    """Returns how a cluster is spoken to: by TLS 1.3, both sides known by their certificates, if the mesh does so."""
    if not mesh.mtls:
        return {}
    name = server_name(cluster)
    named = {"match_typed_subject_alt_names": [{"san_type": "DNS", "matcher": {"exact": name}}]}
    context = typed(
        "extensions.transport_sockets.tls.v3.UpstreamTlsContext",
        sni=name,
        common_tls_context={
            # Upstream the default is at most 1.2.
            "tls_params": {"tls_minimum_protocol_version": "TLSv1_3", "tls_maximum_protocol_version": "TLSv1_3"},
            "alpn_protocols": ["h2"],
            "tls_certificate_sds_secret_configs": [_reference(mesh, _OWN)],
            "combined_validation_context": {
                "default_validation_context": named,
                "validation_context_sds_secret_config": _reference(mesh, _TRUST),
            },
        },
    )
    return {"transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": context}}


def _path(mesh: Mesh, secret: str) -> Path:
    return mesh.state_dir / "envoy" / "secrets" / f"{secret}.yaml"


def _reference(mesh: Mesh, secret: str) -> Node:
    source = {"path_config_source": {"path": str(_path(mesh, secret))}, "resource_api_version": "V3"}
    return {"name": secret, "sds_config": source}


def _secret(name: str, content: Node) -> str:
    secret = typed("extensions.transport_sockets.tls.v3.Secret", name=name, **content)
    return to_yaml({"resources": [secret]})
