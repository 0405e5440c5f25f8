"""A REST client made by Google's own generator from our protos, in an environment of its own (`.clients/`)."""
