"""Stream ids `<ms>-<ordinal>`."""

Id = tuple[int, int]


def parse(text: str) -> Id:
    """Returns an id as numbers that compare. Raises `ValueError`."""
    ms, _, ordinal = text.partition("-")
    return int(ms), int(ordinal)


def ordinal_of(text: str) -> int:
    """Returns the dense number of an entry in its stream, from 1; 0 for the id before the first."""
    return parse(text)[1]


def ms_of(text: str) -> int:
    """Returns when an entry was recorded, ms since the epoch."""
    return int(text.partition("-")[0])
