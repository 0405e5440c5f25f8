"""What the tests of replicas have measured; told at the end and kept in `build/bench/mesh-test.json`."""

FIGURES: dict[str, float] = {}
