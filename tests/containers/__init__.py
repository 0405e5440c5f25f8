"""`make contract`: the mesh of compose.yaml and the contracts tried on it; without an image registry, on own images."""
