"""Examples of the commands, which `--help` shows. Tests parse each of them."""

from collections.abc import Mapping, Sequence
from typing import Final

_BACKUP: Final = "/var/backups/asu-stats"
EXAMPLES: Final[Mapping[str, Sequence[str]]] = {
    "demo": ("demo --days 90 --requests 50000", "demo --directory /tmp/demo"),
    "serve": (
        "serve",
        "serve --no-build-api --database sqlite:////var/lib/asu-stats/asu-stats.db",
        "serve --uds /run/asu-stats/http.sock",
    ),
    "worker": ("worker --builder command --workers 4",),
    "events send": (
        "events send events.ndjson --url https://stats.example.org",
        "events send - --dry-run",
    ),
    "export": (
        "export stats_daily --start 2026-01-01 -o daily.csv",
        "export build_metrics --format ndjson",
    ),
    "alerts check": ("alerts check", "alerts check --json"),
    "alerts list": ("alerts list",),
    "alerts silence": (
        'alerts silence --subject version=24.10.2 --hours 12 --comment "being rebuilt"',
        "alerts silence --rule queue_long",
    ),
    "alerts unsilence": ("alerts unsilence 3",),
    "alerts test": ("alerts test",),
    "db upgrade": ("db upgrade", "db upgrade --database postgresql:///asu_stats"),
    "db status": ("db status --json",),
    "db backup": (f"db backup {_BACKUP}",),
    "db restore": (
        f"db restore {_BACKUP}/backup.zip --dry-run",
        f"db restore {_BACKUP}/backup.zip --verify --database sqlite:///new.db",
    ),
    "db check": ("db check --days 30 --json",),
    "db distribute": ("db distribute --shards 32",),
    "import go-builder": (
        "import go-builder /var/lib/go-builder/stats.db --dry-run",
        "import go-builder /var/lib/go-builder/stats.db --follow",
    ),
    "import redis": ("import redis redis://localhost:6379/0 --follow",),
    "jobs": ("jobs",),
    "jobs list": ("jobs list --json",),
    "jobs run": ("jobs run alerts",),
    "note add": (
        'note add "moved to new disks"',
        'note add "mirror was slow" --at 2026-09-01 --until 2026-09-03',
    ),
    "note list": ("note list",),
    "note remove": ("note remove 3",),
    "retention run": ("retention run --dry-run", "retention run"),
    "rollups verify": ("rollups verify --start 2026-09-01",),
    "rollups rebuild": ("rollups rebuild --start 2026-09-01 --end 2026-09-30",),
    "config show": ("config show --changed",),
    "config check": ("config check",),
    "conformance": (
        "conformance --url http://127.0.0.1:8000 --token TOKEN",
        "conformance --emitter events.ndjson",
    ),
    "token create": (
        "token create my-server --scope ingest --expires 365d",
        "token create reporting --scope read",
        "token create jane --scope operator --expires 90d",
    ),
    "token list": ("token list",),
    "token revoke": ("token revoke my-server",),
    "stats overview": ("stats overview --days 30", "stats overview --hours 24 --json"),
    "stats versions": ("stats versions --days 30",),
    "stats targets": ("stats targets --version 24.10.2",),
    "stats profiles": ("stats profiles --target ath79/generic",),
    "stats client": ("stats client luci",),
    "stats errors": ("stats errors --days 1",),
    "stats timeseries": ("stats timeseries --interval hour --days 2",),
    "insights failures": ("insights failures --version 24.10.2",),
    "insights fingerprint": ("insights fingerprint 0123456789abcdef",),
    "insights capacity": ("insights capacity --growth 50",),
}


def of(path: str) -> Sequence[str]:
    """Return example command lines of a command, without `asu-stats`."""
    is_report = path.startswith(("stats ", "insights "))
    return EXAMPLES.get(path) or ((f"{path} --days 30",) if is_report else ())
