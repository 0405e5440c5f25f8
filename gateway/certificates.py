"""The certificates by which the gateway and the mesh know each other: files, which may be replaced while it runs."""

import ssl
from dataclasses import dataclass
from pathlib import Path

from gateway.http2 import Security


@dataclass(frozen=True, slots=True)
class Certificates:
    """How an upstream that takes no plain text is called."""

    own: Path
    """Key and certificate that the gateway shows, PEM, in one file."""
    authority: Path
    """Certificate of whoever signs what the upstream shows, PEM."""
    server_name: str
    """The name in what the upstream shows, whatever its address is."""

    def context(self) -> ssl.SSLContext:
        """Returns how a connection is encrypted, by the files as they are now."""
        context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=str(self.authority))
        context.load_cert_chain(str(self.own))
        context.set_alpn_protocols(["h2"])
        return context

    def security(self) -> Security:
        """Returns what a channel needs to know. Raises `FileNotFoundError` where a file is not there."""
        for file in (self.own, self.authority):
            file.stat()
        return Security(context=self.context, server_name=self.server_name)
