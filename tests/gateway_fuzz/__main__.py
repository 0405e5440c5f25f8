"""`make fuzz-gateway`: 10,000 generated requests; prints what differs and by which rule, fails on anything else."""

import asyncio
import logging
import sys
import time

import structlog

from tests.gateway_fuzz.compare import fuzz
from tests.gateway_fuzz.explain import explain


def main() -> int:
    pairs = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else int(time.time())
    print(f"seed {seed}")
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    result = asyncio.run(fuzz(seed, pairs, explain))
    print(f"{result.pairs} pairs, {result.taken} passed on alike, {len(result.unexplained)} unexplained")
    for rule, count in result.explained.most_common():
        print(f"{count:6}  {rule}")
    for difference in result.unexplained[:20]:
        print(f"\n{difference.request}\n  template {difference.rule}")
        print(f"  ours   {difference.ours}\n  theirs {difference.theirs}")
    return 1 if result.unexplained else 0


if __name__ == "__main__":
    sys.exit(main())
