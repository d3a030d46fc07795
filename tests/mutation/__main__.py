"""Puts faults into the parts of `parts.py`, one at a time, and counts those that tests notice.

`make mutants PARTS="windows leases"`. The faults are those of mutmut, in a copy of the sources
below `build/mutants`. Survivors are printed, except for those in `equivalent.toml`, which nobody
could notice. `DIGITS=37` tries only mutants whose number ends with one of these digits.
"""

import argparse
import ast
import difflib
import json
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.mutation.parts import PARTS, Part

ROOT: Final = Path(__file__).parents[2]
HERE: Final = Path(__file__).parent
_SURVIVED: Final = {0, 5, 33}  # exit codes of mutmut: no test failed, or none covers the function
_CONFIGURATION: Final = """\
[tool.mutmut]
source_paths = ["src"]
only_mutate = {files}
also_copy = ["docs"]  # some tests read it
pytest_add_cli_args_test_selection = {tests}
pytest_add_cli_args = [
  "-p", "no:xdist", "-p", "no:cacheprovider", "-p", "tests.mutation.template", "-k", {only},
]
timeout_multiplier = 10
timeout_constant = 10

[tool.pytest.ini_options]
addopts = "--import-mode=importlib"
filterwarnings = ["ignore"]
markers = ["browser", "crash"]
"""


@dataclass(frozen=True, slots=True, order=True)
class Survivor:
    """A mutant that no test noticed: the function, and the lines that it changes."""

    function: str
    was: str
    now: str


@dataclass(frozen=True, slots=True)
class Result:
    """Numbers of mutants of a part."""

    part: str
    tried: int
    killed: int
    equivalent: int
    survivors: list[Survivor]

    @property
    def line(self) -> str:
        of = self.tried - self.equivalent
        share = 100 * self.killed / of if of else 0
        return (
            f"{self.part:11} {self.killed:5} of {of:5} killed ({share:.1f}%), "
            f"{self.equivalent} equivalent"
        )


def equivalent() -> dict[Survivor, str]:
    """Return the mutants that change nothing that can be noticed, with the reason."""
    rows = tomllib.loads((HERE / "equivalent.toml").read_text())["mutant"]
    return {
        Survivor(row["function"], row["was"].strip(), row["now"].strip()): row["why"]
        for row in rows
    }


def run(name: str, part: Part, digits: str) -> Result:
    """Try the mutants of a part in a fresh directory."""
    directory = ROOT / "build" / "mutants" / name
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    for each in ("src", "tests", "docs"):
        (directory / each).symlink_to(ROOT / each)
    for each in part.tests:
        assert (ROOT / "tests" / each).exists(), each
    configuration = _CONFIGURATION.format(
        files=json.dumps([f"src/asu_stats/{each}" for each in part.files]),
        tests=json.dumps([f"tests/{each}" for each in part.tests]),
        only=json.dumps(part.only),
    )
    (directory / "pyproject.toml").write_text(configuration)
    names = [f"*__mutmut_*{digit}" for digit in digits]
    command = [sys.executable, "-m", "mutmut", "run", "--max-children", "1", *names]
    environment = {**os.environ, "HYPOTHESIS_STORAGE_DIRECTORY": str(directory / "hypothesis")}
    with (directory / "log").open("w") as log:
        subprocess.run(command, cwd=directory, env=environment, stdout=log, stderr=log, check=False)
    return _result(name, part, directory / "mutants")


def _result(name: str, part: Part, mutants: Path) -> Result:
    known, survivors = equivalent(), []
    tried = same = 0
    for file in part.files:
        codes = json.loads((mutants / "src/asu_stats" / f"{file}.meta").read_text())
        mutated = (mutants / "src/asu_stats" / file).read_text()
        functions = dict(_functions(mutated))
        for mutant, code in codes["exit_code_by_key"].items():
            if code is None:
                continue
            tried += 1
            if code in _SURVIVED:
                survivor = _survivor(mutant.rpartition(".")[2], functions)
                same += survivor in known
                if survivor not in known:
                    survivors.append(survivor)
    return Result(name, tried, tried - same - len(survivors), same, sorted(survivors))


def _functions(source: str) -> Iterator[tuple[str, list[str]]]:
    """Yield the name and the lines of every mutant and original in a mutated file."""
    lines = source.splitlines()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and "__mutmut_" in node.name:
            yield node.name, [line.strip() for line in lines[node.lineno : node.end_lineno]]


def _survivor(mutant: str, functions: dict[str, list[str]]) -> Survivor:
    """Return what a mutant changes."""
    function = mutant.partition("__mutmut_")[0]
    before, after = functions[f"{function}__mutmut_orig"], functions[mutant]
    lines = list(difflib.unified_diff(before, after, n=0, lineterm=""))[2:]
    was, now = (" ".join(x[1:].strip() for x in lines if x[0] == sign) for sign in "-+")
    return Survivor(function.removeprefix("x_").replace("xǁ", "").replace("ǁ", "."), was, now)


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutation")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"one of {', '.join(PARTS)}")
    parser.add_argument("--digits", default="", help="last digits of the mutants to try")
    given: Any = parser.parse_args()
    results = []
    for name in given.parts or PARTS:
        results.append(run(name, PARTS[name], given.digits))
        for survivor in results[-1].survivors:
            say(f"{name}: {survivor.function}:\n  - {survivor.was}\n  + {survivor.now}")
        say(results[-1].line)
    return int(any(result.survivors for result in results))


if __name__ == "__main__":
    sys.exit(main())
