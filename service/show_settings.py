"""`python -m service.show_settings PACKAGE`: the settings of one process as JSON, asked of the process's own package.

A subprocess of `millrace config`, so that the command line need not import the processes.
"""

import importlib
import json
import sys

from pydantic import ValidationError

from service.settings import as_rows, describe, faults, models


def main(package: str) -> None:
    """Print {"settings": [...], "faults": [...]}."""
    rows: list[dict[str, str]] = []
    wrong: list[str] = []
    for model in models(vars(importlib.import_module(f"{package}.settings"))):
        try:
            rows += as_rows(describe(model, model()))
        except ValidationError as error:
            rows += as_rows(describe(model))
            # Where nothing is set yet, what is required is no fault of the settings: the stack gives it itself.
            wrong += faults(model, error, missing=False)
    print(json.dumps({"settings": rows, "faults": wrong}))


if __name__ == "__main__":
    main(sys.argv[1])
