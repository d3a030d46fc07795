"""`python -m benchmarks.insights [PART …]`: insights against known truths and other programs.

`truths` plays a history with incidents and one without. `cache` and `capacity` are compared with
simulations, `forecast` with `statsforecast`, `fingerprints` with what a person says.
"""

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from benchmarks import report
from benchmarks.insights import caches, capacity, forecasts, texts, truths
from benchmarks.report import Found

PARTS: Final[Mapping[str, Callable[[Found, int, int], None]]] = {
    "fingerprints": texts.run,
    "cache": caches.run,
    "capacity": capacity.run,
    "forecast": forecasts.run,
    "truths": truths.run,
}


def main() -> None:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(prog="benchmarks.insights", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)} or all")
    parser.add_argument("--days", type=int, default=120, help="days of a history")
    parser.add_argument("--per-day", type=int, default=400, help="requests a day")
    parser.add_argument("--json", type=Path, help="file to write all figures to")
    parser.add_argument("--markdown", type=Path, help="file to write the tables to")
    options = parser.parse_args()
    wanted = set(options.parts or ["all"])
    if unknown := wanted - {*PARTS, "all"}:
        parser.error(f"{', '.join(sorted(unknown))}: choose from {', '.join(PARTS)}, all")
    found = Found(options.days * options.per_day)
    for name, run in PARTS.items():
        if name in wanted or "all" in wanted:
            run(found, options.days, options.per_day)
            report.write(options.json, found.to_json())
            report.write(options.markdown, report.markdown(found))
    print(f"\n{report.as_text(report.marks_table(found.marks))}")


if __name__ == "__main__":
    main()
