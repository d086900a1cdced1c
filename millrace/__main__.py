"""`millrace` and `python -m millrace`."""

import sys

PYTHON_MIN, PYTHON_MAX = (3, 11), (3, 13)


def main() -> None:
    """Run the command line; every expected fault is one line on stderr and a non-zero exit code."""
    if not PYTHON_MIN <= sys.version_info[:2] <= PYTHON_MAX:
        version = ".".join(map(str, sys.version_info[:3]))
        print(
            f"millrace: Python {version} does not do: use 3.11, 3.12 or 3.13 (make clean, then make run)",
            file=sys.stderr,
        )
        raise SystemExit(1)
    from millrace.cli import command_line

    command_line()


if __name__ == "__main__":
    main()
