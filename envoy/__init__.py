"""The mesh as code: renders Envoy's configuration from the map and the protos, and starts the real binary on it."""
