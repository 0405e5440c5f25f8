"""What a release writes down of the contracts, so that later code can be held to it."""
