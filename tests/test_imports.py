"""Modules import only what comes before them (CONTRIBUTING.md, Data flow), without cycles."""

import ast
import re
from collections import defaultdict
from graphlib import TopologicalSorter
from pathlib import Path

import asu_stats

ROOT = Path(asu_stats.__file__).parent
# The package itself, what everything may use and what events are; then station by station.
ORDER = (
    "asu_stats",
    "exceptions",
    "logs",
    "loops",
    "memory",
    "caches",
    "bodies",
    "compression",
    "etags",
    "times",
    "text",
    "strict_json",
    "urls",
    "http_client",
    "releases",
    "chance",
    "queries",
    "connections",
    "policies",
    "durability",
    "ownership",
    "windows",
    "events",
    "event_times",
    "clocks",
    "error_rules",
    "error_phrases",
    "error_types",
    "fingerprints",
    "cloudevents",
    "alert_rules",
    "webhook",
    "settings",
    "recorder",
    "emit",
    "integrations",
    "conformance",
    "store",
    "backup",
    "jobs",
    "builds",
    "importers",
    "demo",
    "reports",
    "monitor",
    "metrics",
    "dashboard",
    "api",
    "legacy",
    "service",
    "server",
    "cli",
)
# The same within the store.
STORE = (
    "database",
    "rollups",
    "details",
    "archive",
    "blocks",
    "verification",
    "apply",
    "dry_run",
    "export",
    "migrate",
    "migrations",
    "distribute",
)


def imports() -> dict[str, set[str]]:
    """Return which modules each module imports, at its top or later."""
    files = {
        ".".join(("asu_stats", *file.relative_to(ROOT).with_suffix("").parts)).removesuffix(
            ".__init__"
        ): file
        for file in ROOT.rglob("*.py")
    }
    found: dict[str, set[str]] = defaultdict(set)
    for name, file in files.items():
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                named = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                parts = [f"{node.module}.{alias.name}" for alias in node.names]
                named = [part if part in files else node.module for part in parts]
            else:
                continue
            found[name] |= {each for each in named if each in files and each != name}
    return found


def station(module: str) -> str:
    """Return the file or folder at the top that a module is, or is in."""
    return module.split(".")[1] if "." in module else "asu_stats"


def test_data_flows_one_way() -> None:
    back = {
        f"{module} imports {other}"
        for module, others in imports().items()
        for other in others
        if "." in module and ORDER.index(station(other)) > ORDER.index(station(module))
    }
    assert not back


def test_rooms_of_the_store_import_one_way() -> None:
    def room(module: str) -> int:
        return STORE.index(module.removeprefix("asu_stats.store.").split(".")[0])

    inside = {
        name: {other for other in others if other.startswith("asu_stats.store.")}
        for name, others in imports().items()
        if name.startswith("asu_stats.store.")
    }
    back = {
        f"{module} imports {other}"
        for module, others in inside.items()
        for other in others
        if room(other) > room(module)
    }
    assert len(inside) > 40
    assert not back


def test_no_module_hides_a_function_of_its_package() -> None:
    """Importing `package.name` sets `name` of the package to the module, whatever it was."""
    hidden = {
        f"{file.parent.name}.{node.name}"
        for file in ROOT.rglob("__init__.py")
        for node in ast.parse(file.read_text()).body
        if isinstance(node, ast.FunctionDef | ast.ClassDef)
        and ((file.parent / f"{node.name}.py").exists() or (file.parent / node.name).is_dir())
    }
    assert not hidden


def test_the_oracle_is_independent_of_what_it_checks() -> None:
    """It knows what events are, and nothing of how they are read, stored, counted or reported."""
    found = imports()
    allowed = {
        "asu_stats",
        *(
            f"asu_stats.{name}"
            for name in ("events", "exceptions", "http_client", "text", "times", "urls")
        ),
    }
    for name in ("history", "series", "oracle", "scenario", "questions", "differences", "run"):
        waiting, seen = [f"asu_stats.conformance.{name}"], set[str]()
        while waiting:
            module = waiting.pop()
            seen.add(module)
            waiting += found[module] - seen
        others = {each for each in seen if not each.startswith("asu_stats.conformance")}
        assert others <= allowed, name


def test_no_modules_import_each_other_in_a_circle() -> None:
    whole = {name: {o for o in others if o != "asu_stats"} for name, others in imports().items()}
    assert len(list(TopologicalSorter(whole).static_order())) > 150


def test_the_legacy_edge_can_be_deleted() -> None:
    edge = "asu_stats.legacy"
    users = {
        module
        for module, others in imports().items()
        if not module.startswith(edge) and any(other.startswith(edge) for other in others)
    }
    assert users == {"asu_stats.server.application", "asu_stats.service.running"}


def test_one_module_reads_the_clock_and_converts_times() -> None:
    """A time without zone that is taken for local time shows only where the server is not UTC."""
    pattern = re.compile(r"datetime\.now\(|utcnow\(|replace\(tzinfo|, time\(\)\)|def (naive|aware)")
    users = {
        str(file.relative_to(ROOT))
        for file in ROOT.rglob("*.py")
        if pattern.search(file.read_text())
    }
    assert {user for user in users if "migrations" not in user} == {"times.py"}


def test_each_idiom_has_one_home() -> None:
    """A second one is where the next repair is forgotten."""
    homes = {
        "OrderedDict": {"caches.py"},
        r"urlsplit|urlparse": {"urls.py"},
        r"\.stream\(\)": {"bodies.py"},
        r"_hash\[:|_hash or \"\"\)\[:": {"events.py"},
        r'"failure", "timeout"[})]': {"events.py"},
    }
    for pattern, expected in homes.items():
        found = {
            str(file.relative_to(ROOT))
            for file in ROOT.rglob("*.py")
            if "migrations" not in file.parts and re.search(pattern, file.read_text())
        }
        assert found == expected, pattern


def test_tests_run_coroutines_in_one_way() -> None:
    """`asyncio.run` in a test fails where a test of a browser ran before in the same process."""
    pattern = re.compile(r"asyncio\.(run|Runner)\(|run_until_complete\(")
    tests = Path(__file__).parent
    users = {
        str(file.relative_to(tests))
        for file in tests.rglob("*.py")
        if file != Path(__file__) and pattern.search(file.read_text())
    }
    assert users == {"coroutines.py"}


# Insights compare thousands of groups and days, so they get columns of the store.
INSIGHTS = "reports/insights/"


def test_numpy_stays_below_the_reports() -> None:
    """Reports get names, whole numbers and lists from `Totals`, never columns or codes."""
    pattern = re.compile(r"^\s*(import|from) numpy", re.MULTILINE)
    users = {
        str(file.relative_to(ROOT))
        for file in ROOT.rglob("*.py")
        if pattern.search(file.read_text())
    }
    # Lists of package numbers are stored as differences: arrays of them are the format.
    blocks = ("codec", "columns", "distribution", "keys", "reader", "rows", "totals")
    below = {f"store/blocks/{name}.py" for name in blocks}
    others = {file for file in users if not file.startswith(INSIGHTS)}
    assert others == {*below, "store/details/package_lists.py"}


def test_reports_read_no_columns() -> None:
    """An array can be handed on without importing numpy."""
    names = re.compile(r"\b(Ints|NDArray|Vocabulary)\b|\.sums\b|\._?column\(")
    above = ("reports", "monitor", "metrics", "dashboard", "api", "legacy")
    users = {
        str(file.relative_to(ROOT))
        for folder in above
        for file in (ROOT / folder).rglob("*.py")
        if names.search(file.read_text())
    }
    assert not {file for file in users if not file.startswith(INSIGHTS)}
