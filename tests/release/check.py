"""`python -m tests.release.check`: ends with 1, and says why, when the protos break what was promised."""

from services.mesh import ROOT
from tests.release.promises import breaking, latest, lost_streams


def main() -> None:
    """Checks against the last release."""
    last = latest()
    if last is None:
        raise SystemExit("protos/released/ has no release; `make release VERSION=1.0.0` makes the first")
    if problems := [*breaking(ROOT, last), *lost_streams(last)]:
        raise SystemExit("\n".join([f"This breaks what release {last.name} promised:", *problems]))


if __name__ == "__main__":
    main()
