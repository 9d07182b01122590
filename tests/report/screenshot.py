"""README's picture of the morning page: three nights of the demo, and the last one's page in a browser.

python -m tests.report.screenshot docs/morning-page.png
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from pipeline.store.snapshots import Snapshots
from tests.report.chromium import browser, why_not

WIDTH, HEIGHT = 1040, 1640
IDS, NIGHTS = 2_000, 3


def main(target: Path) -> int:
    """Take the picture."""
    if reason := why_not():
        sys.stderr.write(f"No picture: {reason}.\n")
        return 2
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "demo-export"
        words = [sys.executable, "-m", "pipeline", "demo", "--out", str(out)]
        subprocess.run([*words, "--ids", str(IDS), "--nights", str(NIGHTS)], check=True)
        live = Snapshots(out).current()
        assert live is not None
        _shoot(out / "snapshots" / live.snapshot / "report.html", target)
    sys.stdout.write(f"{target}: {target.stat().st_size:,} bytes\n")
    return 0


def _shoot(page: Path, target: Path) -> None:
    with browser() as opened:
        tab = opened.new_page(viewport={"width": WIDTH, "height": HEIGHT})
        tab.goto(page.as_uri())
        tab.screenshot(path=str(target))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
