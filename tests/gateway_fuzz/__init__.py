"""Differential fuzzing: generated rules and requests, to our gateway and to Envoy's transcoder before one backend."""
