"""docs/ as a site: no link is dead, and no page is missing in the navigation."""

import os
import re
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]


def test_a_strict_build_has_no_warning(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)],
        cwd=REPOSITORY,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    pages = {path.parent.name for path in tmp_path.glob("*/index.html")}
    assert pages == {path.stem for path in (REPOSITORY / "docs").glob("*.md")}
    first = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert "./run.sh" in re.sub("<[^>]*>", "", first)
    # A page makes no request to another host.
    loaded = re.findall(
        r'<(?:script|img|link[^>]*stylesheet)[^>]*(?:src|href)="(https?:[^"]*)"', first
    )
    assert not loaded
