"""What a descriptor set makes of a gateway: its routes and all that reads and writes their messages."""

from dataclasses import dataclass
from typing import Self

from protobuf import Registry
from protobuf.wkt import FileDescriptorSet

from gateway.binding import Binder
from gateway.outcome import Outcomes
from gateway.rendering import Renderer
from gateway.router import RouteClash, Router
from gateway.routes import BadRule, Route, router_of, routes_of
from gateway.scanner import TemplateError
from gateway.settings import Settings


class BadDescriptors(ValueError):
    """The descriptor set cannot be served: it is none, or one of its http rules is broken or taken."""


def registry_of(descriptors: bytes) -> Registry:
    """Reads a descriptor set.

    Raises:
        BadDescriptors: the bytes are none, or a file they need is missing.
    """
    try:
        return FileDescriptorSet.from_binary(descriptors).to_registry()
    except (ValueError, TypeError, EOFError, KeyError) as error:
        raise BadDescriptors(f"no descriptor set with all its imports: {error}") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Api:
    """One descriptor set, ready to serve. A request stays with the one it began with."""

    registry: Registry
    routes: tuple[Route, ...]
    router: Router[Route]
    binder: Binder
    renderer: Renderer
    outcomes: Outcomes

    @classmethod
    def of(cls, settings: Settings, descriptors: bytes) -> Self:
        """Reads a descriptor set.

        Raises:
            BadDescriptors: the bytes are none, a file they need is missing, or a rule cannot be served.
        """
        registry = registry_of(descriptors)
        try:
            routes = tuple(routes_of(registry))
            router = router_of(routes, settings.router)
        except (BadRule, TemplateError, RouteClash) as error:
            raise BadDescriptors(str(error)) from None
        return cls(
            registry=registry,
            routes=routes,
            router=router,
            binder=Binder(settings, registry),
            renderer=Renderer(settings, registry),
            outcomes=Outcomes(settings, registry),
        )

    @property
    def services(self) -> frozenset[str]:
        """Full names of the services that have routes."""
        return frozenset(route.descriptor.parent.type_name for route in self.routes)
