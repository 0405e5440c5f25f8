"""`python -m tests.chaos`: one run, printed; exits 0 if nothing was lost, doubled or out of order."""

import asyncio
import os
import random
import sys

from tests.chaos.controls import CONTROLS
from tests.chaos.report import console, print_outcome
from tests.chaos.run import Options, run


def main() -> int:
    seed = int(os.environ.get("CHAOS_SEED") or random.randrange(10_000))
    seconds = float(os.environ.get("CHAOS_SECONDS") or 300)
    control = os.environ.get("CHAOS_CONTROL", "")
    trim = os.environ.get("CHAOS_TRIM", "") == "1"
    cluster = os.environ.get("CHAOS_CLUSTER", "") == "1"
    full = os.environ.get("CHAOS_FULL", "") == "1"
    if control and control not in CONTROLS:
        raise SystemExit(f"CHAOS_CONTROL={control}: there are {', '.join(CONTROLS)}")
    again = f"make chaos{'-cluster' if cluster else ''} CHAOS_SECONDS={seconds:.0f} CHAOS_SEED={seed}" + (
        f" CHAOS_CONTROL={control}" if control else ""
    )
    again += " CHAOS_TRIM=1" if trim else ""
    again += " CHAOS_FULL=1" if full else ""
    console.print(f"{seconds:.0f} s of faults; the same again: {again}", highlight=False)
    options = Options(seconds=seconds, seed=seed, control=control, trim=trim, full=full, cluster=cluster)
    outcome = asyncio.run(run(options))
    print_outcome(outcome)
    return 0 if outcome.right else 1


if __name__ == "__main__":
    sys.exit(main())
