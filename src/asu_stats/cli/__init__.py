"""The command line `asu-stats`."""

import sys


def main() -> None:
    """Run the command line; exit status 0, 1 for an error, 2 for wrong usage."""
    try:
        from asu_stats.cli.program import run
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] == "asu_stats":
            raise
        sys.exit(f"asu-stats: the package {error.name} is missing: install asu-stats[server]")
    run()
