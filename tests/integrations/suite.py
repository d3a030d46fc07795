"""Upstream's own test suite with the plug-in and without: every test ends the same.

    python -m tests.integrations.suite UPSTREAM

It runs twice as it is, and twice with a stand-in for upstream's build function: without containers,
what needs a build fails otherwise. Its tests listen on port 8123.
"""

import argparse
import json
import os
import shutil
import socket
import subprocess
import venv
from collections import Counter
from pathlib import Path
from typing import Any

from tests.integrations.campaign import HERE, ROOT, VERSIONS, upstream_packages


def environment(upstream: Path) -> Path:
    """Return the Python of an environment with what upstream's tests need."""
    place = ROOT / "build" / "upstream" / "suite"
    python = place / "bin" / "python"
    if not python.exists():
        venv.create(place, with_pip=True)
        wanted = [*upstream_packages(upstream, VERSIONS[-1]), "pytest", "fakeredis"]
        install = [str(python), "-m", "pip", "install", "-q", *wanted, "pytest-httpserver"]
        subprocess.run(install, check=True)
    return python


def run(upstream: Path, python: Path, *, observed: bool, builds: bool) -> dict[str, Any]:
    """Run the suite once; return how each test ended, and what the emitter did."""
    scratch = ROOT / "build" / "upstream" / "suite-run"
    shutil.rmtree(scratch, ignore_errors=True)
    copy = scratch / "asu"  # the tests write into their directory
    shutil.copytree(upstream, copy, ignore=shutil.ignore_patterns(".git"))
    results = scratch / "results.json"
    env = {
        **os.environ,
        "PYTHONPATH": f"{copy}:{ROOT / 'src'}:{HERE}",
        "SUITE_RESULTS": str(results),
        "SUITE_OBSERVED": "1" if observed else "",
        "SUITE_BUILDS": "1" if builds else "",
        "ASU_STATS_TOKEN": "unused",
        "ASU_STATS_REMOTE_URL": "http://127.0.0.1:9" if observed else "",  # nothing listens
        "ASU_STATS_SPOOL_DIRECTORY": str(scratch / "spool"),
    }
    command = [str(python), "-m", "pytest", "-q", "-p", "suite_plugin", "-p", "no:cacheprovider"]
    with (scratch / "log.txt").open("w") as log:
        subprocess.run(command, cwd=copy, env=env, stdout=log, stderr=log, check=False)
    found: dict[str, Any] = json.loads(results.read_text())
    return found


def main() -> None:
    """Compare, and print what was found. Exit status 1 if a test ended otherwise."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("upstream", type=Path)
    upstream = parser.parse_args().upstream.resolve()
    with socket.create_server(("127.0.0.1", 8123)):
        pass  # in use, each test would fail, with the plug-in and without
    python = environment(upstream)
    differ = False
    for builds in (False, True):
        without = run(upstream, python, observed=False, builds=builds)
        observed = run(upstream, python, observed=True, builds=builds)
        what = "with stand-in builds" if builds else "as it is"
        for name, each in (("without", without), ("with", observed)):
            counts = Counter(outcome for ends in each["tests"].values() for outcome in ends)
            print(f"upstream's tests {what}, {name} the plug-in: {dict(counts)}")  # noqa: T201
        print(f"  events: {observed['events']}")  # noqa: T201
        for test in sorted(without["tests"].keys() | observed["tests"].keys()):
            ends = without["tests"].get(test), observed["tests"].get(test)
            if ends[0] != ends[1]:
                differ = True
                print(f"  {test}: {ends[0]} without, {ends[1]} with")  # noqa: T201
    raise SystemExit(differ)


if __name__ == "__main__":
    main()
