"""`asu-stats db backup` and `asu-stats db restore`."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import Progress

from asu_stats.backup import container, restoring, taking
from asu_stats.cli import options, output
from asu_stats.service.jobs import retained_range_of
from asu_stats.settings import Settings, load
from asu_stats.store import migrate
from asu_stats.store.verification import verify
from asu_stats.text import plainly
from asu_stats.times import utc_now


def backup(
    target: Annotated[
        Path,
        typer.Argument(
            metavar="FILE|DIR",
            help="New file, or directory for a new file; a new name without extension is created "
            "as a directory.",
        ),
    ],
    skip_missing: Annotated[
        bool,
        typer.Option("--skip-missing", help="Leave out archive files that are missing or damaged."),
    ] = False,
    database: options.Database = None,
    json: options.Json = False,
) -> None:
    """Back up the database, the archive files and the spool into one file, while servers run.

    Images are not included. The file contains request hashes and first-boot scripts: keep it
    private. Needs free space for the database and its compressed copy.
    """
    settings, now = load(database_url=database), utc_now()
    file = taking.file_of(target, now)
    with options.opened(database, writes=False) as engine:
        source = taking.Source(
            engine, settings.archive_directory.resolve(), settings.spool_path, skip_missing
        )
        with output.progress(taking.size(engine), "backup", of_bytes=True) as bar:
            manifest = taking.take(source, file, lambda size: _advance(bar, size))
    facts = {"file": file, "bytes": file.stat().st_size, **container.summary(manifest)}
    _print(facts, json)


def restore(
    file: Annotated[Path, typer.Argument(metavar="BACKUP", help="File of `asu-stats db backup`.")],
    verify_figures: Annotated[
        bool,
        typer.Option(
            "--verify",
            help="Recount all rollups from their details afterwards; exit with status 1 if one "
            "differs.",
        ),
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Check the backup and the destination; change nothing."),
    ] = False,
    database: options.Database = None,
    json: options.Json = False,
) -> None:
    """Restore a backup into an empty destination: database, archive files and spool.

    Where they go is set by the same settings as for a server. The backup is checked first. If the
    restore fails, nothing is restored.
    """
    settings = load(database_url=database)
    with container.reading(file) as reader:
        schema = reader.manifest.schema_revision
        if verify_figures and schema != migrate.head():
            words = "run `asu-stats db upgrade` and `asu-stats rollups verify` after the restore"
            raise typer.BadParameter(f"--verify: the backup has schema {schema}; {words}")
        size = sum(entry.bytes for entry in reader.manifest.entries)
        with options.opened(database, make=True) as engine:
            destination = restoring.Destination(
                engine,
                settings.database_file,
                settings.archive_directory.resolve(),
                settings.spool_path,
            )
            restoring.check(reader, destination)
            with output.progress(size, "check", of_bytes=True) as bar:
                reader.check(lambda done: _advance(bar, done))
            skipped: list[str] = []
            if not dry_run:
                with output.progress(size, "restore", of_bytes=True) as bar:
                    skipped = restoring.restore(
                        reader, destination, lambda done: _advance(bar, done)
                    )
        facts: dict[str, Any] = {"file": file, **container.summary(reader.manifest)}
    facts |= {"restored": not dry_run, "skipped_tables": skipped}
    found = _verified(settings, database) if verify_figures and not dry_run else []
    if verify_figures and not dry_run:
        facts["differences"] = [asdict(each) for each in found]
    _print(facts, json)
    if not json and schema != migrate.head():
        typer.echo(f"schema {schema}: run `asu-stats db upgrade`")
    if found:
        raise typer.Exit(1)


def _verified(settings: Settings, database: str | None) -> list[verify.Difference]:
    with options.opened(database, writes=False) as engine:
        migrate.check(engine)
        days = len(verify.days(engine))
        with output.progress(days, "verify") as bar:
            return list(
                verify.differences(
                    engine, None, None, lambda _: _advance(bar, 1), kept=retained_range_of(settings)
                )
            )


def _advance(bar: Progress, size: int) -> None:
    bar.advance(bar.task_ids[0], size)


def _print(facts: Mapping[str, Any], json: bool) -> None:
    if json:
        output.print_json(facts)
        return
    shown = dict(facts)
    if "tables" in shown:
        tables = shown.pop("tables")
        if tables:
            shown["rows"] = sum(tables.values())
    if "differences" in shown:
        shown["differences"] = len(shown["differences"])
    output.print_table(
        ("", ""), [(name.replace("_", " "), plainly(value)) for name, value in shown.items()]
    )
