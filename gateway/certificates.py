"""The certificates by which the gateway and the mesh know each other: files, which may be replaced while it runs."""

from dataclasses import dataclass
from pathlib import Path

import grpc
from grpc import aio


@dataclass(frozen=True, slots=True)
class Certificates:
    """How an upstream that takes no plain text is called."""

    own: Path
    """Key and certificate that the gateway shows, PEM, in one file."""
    authority: Path
    """Certificate of whoever signs what the upstream shows, PEM."""
    server_name: str
    """The name in what the upstream shows, whatever its address is."""

    def stamps(self) -> list[tuple[int, int]]:
        """Returns what changes when a file is replaced."""
        return [(stat.st_ino, stat.st_mtime_ns) for stat in (self.own.stat(), self.authority.stat())]

    def credentials(self) -> grpc.ChannelCredentials:
        """Returns the credentials by the files as they are now."""
        pair = self.own.read_bytes()
        return grpc.ssl_channel_credentials(self.authority.read_bytes(), pair, pair)


def open_channel(
    target: str, certificates: Certificates | None, options: tuple[tuple[str, object], ...]
) -> aio.Channel:
    """Opens a channel: in plain text unless there are certificates. OSError where they are not to be read."""
    if certificates is None:
        return aio.insecure_channel(target, options=options)
    named = ("grpc.ssl_target_name_override", certificates.server_name)
    return aio.secure_channel(target, certificates.credentials(), options=(*options, named))
