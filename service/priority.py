"""Who reads gives way to what arrives: a lower priority for threads that answer people, as Linux has it by thread."""

import os
import sys

NICENESS = 10
"""At which a thread has a tenth of the weight of one that takes records in, where both want the same core."""


def give_way() -> None:
    """The calling thread, and what it starts from now on, leave the cores to others. Elsewhere than on Linux nothing:
    there it would be the whole process."""
    if sys.platform == "linux":
        os.nice(NICENESS)
