"""Takes events from outboxes to Redis Streams, and from there to consumer groups; loses nothing, doubles nothing."""
