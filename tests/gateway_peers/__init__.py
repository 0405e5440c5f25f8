"""Other gateways that ours is compared with, by the fuzzer and by the benchmark."""
