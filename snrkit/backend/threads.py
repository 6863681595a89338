"""How threads wait for one another, which is decided before torch is loaded. Standard library only.

A product by several threads ends when the last of them is done, and those that are done ask again and again whether it is.
On a machine with other work the last may stand in line behind that for milliseconds, and the asking keeps it there. So they
shall ask for a fifth of a millisecond, which outlasts the gap between two products of one computation, and then sleep. No
number depends on it: the same threads compute the same sums.
"""

import os
import sys

# Of GNU's OpenMP, which torch's wheels for Linux bring: how often a waiting thread asks. Its own default is 300,000.
TIMES, ASKED = "GOMP_SPINCOUNT", "10000"
_DECIDED = (TIMES, "OMP_WAIT_POLICY")


def wait_asleep() -> bool:
    """Let threads that wait in this process sleep soon, unless the user's environment says how they wait.

    Returns:
        Whether it has effect: torch was not loaded, and nothing had been decided.
    """
    if "torch" in sys.modules or any(name in os.environ for name in _DECIDED):
        return False
    os.environ[TIMES] = ASKED
    return True
