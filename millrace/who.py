"""The person at the command line."""

import getpass

from service.changes import Who


def who() -> Who:
    """As the audit names them."""
    try:
        return Who(getpass.getuser())
    except (KeyError, OSError):  # a user id without a name
        return Who("unknown")
