"""The limits that a consumer group works within; a group may declare its own."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How the consumers of a group work."""

    workers: int = 512
    """Entries in hand at once, at least one for each stream; the more, the more share a commit."""
    block_ms: int = 1_000
    """How long a read waits for entries; also how long a stop waits for the read."""
    idle_ms: int = 30_000
    """How long an entry is left with a silent consumer before others take it."""
    claim_every_seconds: float = 5.0
    max_deliveries: int = 5
    """Deliveries after which a failing entry becomes a dead letter."""
    retry_first_seconds: float = 0.1
    retry_cap_seconds: float = 2.0
    forget_ms: int = 3_600_000
    """How long a consumer that holds nothing is silent before its name is deleted."""
    hole_lease_ms: int = 30_000
    """How long one that died while it filled a hole keeps others waiting. Renewed with every page."""
    drain_seconds: float = 5.0
    """How long entries in hand may take after a stop; the rest is finished at the next start."""


DEFAULTS = Settings()
