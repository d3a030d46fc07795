"""Builds the manual into the wheel. An editable installation has none until `make manual`."""

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class ManualHook(BuildHookInterface[Any]):
    """Adds the manual to a wheel as `asu_stats/manual`."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if self.target_name != "wheel" or version == "editable":
            return
        self.scratch = tempfile.TemporaryDirectory()
        site = Path(self.scratch.name) / "manual"
        script = Path(self.root) / "manual" / "build.py"
        subprocess.run([sys.executable, script, site], check=True)
        build_data["force_include"][str(site)] = "asu_stats/manual"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        del version, build_data, artifact_path
        if hasattr(self, "scratch"):
            self.scratch.cleanup()
