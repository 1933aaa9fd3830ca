"""The photo inside the package, of which benchmarks make maps."""

from __future__ import annotations

from pathlib import Path

import lotus_core

PHOTO = Path(lotus_core.__file__).parent / "assets" / "coffee.jpg"
