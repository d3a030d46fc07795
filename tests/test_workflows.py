"""The workflows of releases."""

import re
import subprocess
from pathlib import Path

import yaml

from asu_stats import __version__

ROOT = Path(__file__).parent.parent
RELEASE = yaml.safe_load((ROOT / ".github" / "workflows" / "release.yml").read_text())


def notes(directory: Path, tag: str) -> subprocess.CompletedProcess[str]:
    """Run the step of the workflow that writes the text of a release."""
    (step,) = (each for each in RELEASE["jobs"]["github"]["steps"] if "awk" in each.get("run", ""))
    (directory / "CHANGELOG.md").write_text(
        "# Changes\n\n## Unreleased\n\n- Soon.\n\n"
        + (ROOT / "CHANGELOG.md").read_text().partition("\n\n")[2]
        + "\n## 0.9.0 (2020-01-01)\n\n- Old.\n"
    )
    environment = {"PATH": "/usr/bin:/bin", "GITHUB_REF_NAME": tag}
    return subprocess.run(
        ["/bin/bash", "-e", "-c", step["run"]],
        cwd=directory,
        env=environment,
        check=False,
        text=True,
        capture_output=True,
    )


def test_the_text_of_a_release_is_its_section_of_the_changelog(tmp_path: Path) -> None:
    assert notes(tmp_path, f"v{__version__}").returncode == 0
    written = (tmp_path / "notes.md").read_text()
    section = re.split(r"^## .*$", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE)[1]
    assert written.strip() == section.strip()
    assert "Soon" not in written
    assert "Old" not in written


def test_a_version_that_the_changelog_lacks_is_not_released(tmp_path: Path) -> None:
    assert notes(tmp_path, "v0.9").returncode == 1
