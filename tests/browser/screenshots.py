"""Takes the README's picture anew, from a real server on a seeded store: `make screenshots`."""

from __future__ import annotations

import tempfile
from pathlib import Path

from lineage_server import CHROMIUM, NO_BROWSER, browsing, seeded, serving

PICTURE = Path(__file__).resolve().parents[2] / "docs" / "lineage.png"


def main() -> None:
    """Write docs/lineage.png."""
    if CHROMIUM is None:
        raise SystemExit(NO_BROWSER)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        seeded(folder)
        with serving(folder) as address, browsing() as browser:
            page = browser.new_page(viewport={"width": 1240, "height": 1010})
            page.goto(f"{address}/dsver/dataset?ref=local://digits")
            taken = folder / "taken.png"
            page.screenshot(path=taken)
            _save(taken)
    print(f"{PICTURE}: {PICTURE.stat().st_size:,} bytes")


def _save(taken: Path) -> None:
    """As a palette, which is a third of the size and looks the same."""
    from PIL import Image

    PICTURE.parent.mkdir(exist_ok=True)
    with Image.open(taken) as image:
        image.convert("RGB").quantize(128, dither=Image.Dither.NONE).save(PICTURE, optimize=True)


if __name__ == "__main__":
    main()
