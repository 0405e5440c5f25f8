"""The tests, and what else is played on a mesh: it registers and calls more often than a user may in a minute."""

import os

from services.mesh import LIMITS_TIMES

os.environ.setdefault(LIMITS_TIMES, "1000")
