"""The command line `asu-stats` (contract §6)."""

import sys


def main() -> None:
    """Run the command line; exit status 0, 1 for an error, 2 for wrong usage."""
    try:
        from asu_stats.cli.main import run
    except ModuleNotFoundError as error:
        if error.name not in {"typer", "rich", "uvicorn"}:
            raise
        sys.exit(f"asu-stats: {error.name} is missing: install asu-stats[server]")
    run()
