"""Forked commands run as operators' do."""

from pathlib import Path

from tests import processes


def test_a_command_collects_garbage(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/stats.db"
    shown = "import gc; print(f'collecting={gc.isenabled()}', flush=True)"
    assert processes.start(tmp_path, url, "--version", first=shown).wait(120) == 0
    assert "collecting=True" in (tmp_path / "log.txt").read_text()
