"""The files in `deploy/upstream/` refer to existing names."""

import importlib
import re
from pathlib import Path

from asu_stats.integrations import reporting

ROOT = Path(__file__).parents[2]
FILES = [
    *(file for file in (ROOT / "deploy" / "upstream").rglob("*") if file.is_file()),
    ROOT / "docs" / "integrate.md",
]
SETTINGS = {*reporting._REQUIRED, reporting._SOURCE, "ASU_STATS_INGEST_TOKEN"}


def test_settings_and_entry_points_exist() -> None:
    texts = {file.name: file.read_text() for file in FILES}
    for name, text in texts.items():
        assert set(re.findall(r"ASU_STATS_\w+", text)) <= SETTINGS, name
        for module, attribute in re.findall(r"(asu_stats[.\w]*)[.:](StatsWorker|app)\b", text):
            found = importlib.import_module(module)
            assert attribute == "app" or hasattr(found, attribute), name
    overlay = texts["podman-compose.stats.yml"]
    assert overlay.count("asu_stats.integrations.upstream") == 2
    assert set(reporting._REQUIRED) <= set(re.findall(r"ASU_STATS_\w+", overlay))


def test_the_overlay_overrides_services_of_upstream() -> None:
    overlay = (ROOT / "deploy" / "upstream" / "podman-compose.stats.yml").read_text()
    services = re.findall(r"^  ([\w-]+):$", overlay.partition("\nvolumes:")[0], re.MULTILINE)
    assert services == ["asu-stats", "server", "worker"]
    containerfile = (ROOT / "deploy" / "upstream" / "Containerfile.stats").read_text()
    stages = re.findall(r"AS (\w+)$", containerfile, re.MULTILINE)
    assert set(re.findall(r"target: (\w+)", overlay)) == set(stages)
