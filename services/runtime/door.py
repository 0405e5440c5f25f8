"""The way into Envoy's internal listener: as a process of the mesh, by a certificate that may change."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import grpc
import structlog

from services.mesh import Mesh
from services.runtime.certificates import CALLER, MEMBERS_CA, certificate_path, member_path, server_name, stamps

Options = Sequence[tuple[str, Any]]

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Door:
    """Where the listener is and, unless it takes plain text, the files by which one is let in."""

    address: str
    own: Path | None = None
    """Key and certificate of the process."""
    authority: Path | None = None
    """Who signs what the listener shows."""

    @classmethod
    def of(cls, mesh: Mesh, process: str) -> Self:
        """Returns the door of a mesh for one of its processes."""
        address = mesh.addresses["envoy-internal"]
        if not mesh.mtls:
            return cls(address)
        return cls(address, member_path(mesh, process), certificate_path(mesh, MEMBERS_CA))

    def line(self, authority: str = "", options: Options = ()) -> "Line":
        """Returns a line to the service with an authority such as `trading.mesh`; without one the paths tell."""
        return Line(self, [*options, *([("grpc.default_authority", authority)] if authority else [])])

    def open(self, options: Options = ()) -> grpc.aio.Channel:
        """Opens a channel with the certificates as they are now. OSError where they are not to be read."""
        if self.own is None or self.authority is None:
            return grpc.aio.insecure_channel(self.address, options=options)
        pair = self.own.read_bytes()
        credentials = grpc.ssl_channel_credentials(self.authority.read_bytes(), pair, pair)
        named = ("grpc.ssl_target_name_override", server_name(CALLER))
        return grpc.aio.secure_channel(self.address, credentials, options=[*options, named])

    def stamps(self) -> list[tuple[int, int]]:
        """Returns what changes with the certificates."""
        return stamps(*(path for path in (self.own, self.authority) if path is not None))


class Line:
    """One channel, which is replaced when the certificates are. Calls under way end on the one they began on."""

    def __init__(self, door: Door, options: Options) -> None:
        self._door = door
        self._options = options
        try:
            self._held = door.stamps()
            self._channels = [door.open(options)]
        except FileNotFoundError as error:
            raise SystemExit(f"{error.filename}: no such certificate; `make run` makes it") from None

    @property
    def channel(self) -> grpc.aio.Channel:
        """The channel for the next call."""
        try:
            if (now := self._door.stamps()) != self._held:
                # An idle channel of earlier certificates costs little, and gRPC closes its connection by itself.
                self._channels = [self._door.open(self._options), *self._channels[:2]]
                self._held = now
        except OSError as error:
            log.warning("door.keeps_old_certificates", error=str(error))
        return self._channels[0]

    async def close(self) -> None:
        """Closes the channel, and with it the calls on it."""
        for channel in self._channels:
            await channel.close()
