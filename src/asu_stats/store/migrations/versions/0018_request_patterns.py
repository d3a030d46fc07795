"""What requests said of their images: repositories, first-boot scripts, sizes, packages."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0018"
down_revision: str | None = "0017"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_NAME = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
_SUMS = (
    *("custom_repos_true", "custom_repos_false", "defaults_true", "defaults_false"),
    *("rootfs_size_true", "rootfs_size_false"),
)
_DAY = {"sqlite": "substr(timestamp, 1, 10)", "postgresql": "CAST(timestamp AS DATE)"}
# What is known of a hash is true of each of its requests. No size may mean that it was not said.
_KNOWN = """
    UPDATE {table} SET package_count = m.package_count, has_custom_repos = m.has_custom_repos,
        has_defaults = m.has_defaults, rootfs_size_mb = m.rootfs_size_mb
    FROM request_metadata AS m WHERE m.request_hash = {table}.request_hash
"""
_SAID = """
    CREATE TEMPORARY TABLE said AS
    SELECT {day} AS day, client, version, client_version, package_count, has_custom_repos,
        has_defaults, rootfs_size_mb
    FROM client_stats WHERE outcome <> 'rejected'
    UNION ALL
    SELECT {day}, client, version, client_version, package_count, has_custom_repos, has_defaults,
        rootfs_size_mb
    FROM client_stats_archive WHERE outcome <> 'rejected'
"""
_ADD = """
    INSERT INTO stats_client_versions (date, client, version, client_version, {sums})
    SELECT day, client, version, client_version,
        count(CASE WHEN has_custom_repos THEN 1 END),
        count(CASE WHEN NOT has_custom_repos THEN 1 END),
        count(CASE WHEN has_defaults THEN 1 END),
        count(CASE WHEN NOT has_defaults THEN 1 END),
        count(CASE WHEN rootfs_size_mb > 0 THEN 1 END),
        count(CASE WHEN rootfs_size_mb = 0 THEN 1 END)
    FROM said WHERE true GROUP BY day, client, version, client_version
    ON CONFLICT (date, client, version, client_version) DO UPDATE SET {more}
"""
_FILL = """
    INSERT INTO {table} (date, version, client, {column}, requests)
    SELECT day, version, client, {column}, count(*) FROM said WHERE {column} >= {least}
    GROUP BY day, version, client, {column}
"""


def upgrade() -> None:
    """Make the changes."""
    for table, live in (("client_stats", True), ("client_stats_archive", False)):
        for name, kind, comment in (
            ("package_count", sa.Integer(), None),
            ("has_custom_repos", sa.Boolean(), None),
            ("has_defaults", sa.Boolean(), None),
            (
                "rootfs_size_mb",
                sa.Integer(),
                "0 if none was asked for; null where it is unknown" if live else None,
            ),
        ):
            op.add_column(table, sa.Column(name, kind, comment=comment))
        op.execute(_KNOWN.format(table=table))
    for name in _SUMS:
        added = sa.Column(name, sa.BigInteger(), server_default=sa.text("0"), nullable=False)
        op.add_column("stats_client_versions", added)
    op.execute(_SAID.format(day=_DAY[op.get_context().dialect.name]))
    more = ", ".join(f"{name} = excluded.{name}" for name in _SUMS)
    op.execute(_ADD.format(sums=", ".join(_SUMS), more=more))
    for table, column, least in (
        ("stats_rootfs_sizes", "rootfs_size_mb", 1),
        ("stats_package_counts", "package_count", 0),
    ):
        op.create_table(
            table,
            sa.Column("date", sa.Date(), nullable=False),
            sa.Column("version", _NAME, nullable=False),
            sa.Column("client", _NAME, nullable=False),
            sa.Column(column, sa.Integer(), nullable=False),
            sa.Column("requests", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
            sa.PrimaryKeyConstraint(
                *("date", "version", "client", column), name=op.f(f"pk_{table}")
            ),
            sqlite_with_rowid=False,
        )
        op.execute(_FILL.format(table=table, column=column, least=least))
    op.execute("DROP TABLE said")
    op.execute("UPDATE store_state SET changes = changes + 1")
