"""Make lotus_core importable by its own name from the clone that this pack lies in.

The clone's own copy goes first, so that a `pip install`ed lotus-geometry of another version cannot slip in. Its folder
holds nothing but lotus_core: no name of another pack, nor the much-used name `core`, is touched.
"""

from __future__ import annotations

import sys
from pathlib import Path

SOURCE_ROOT = Path(__file__).resolve().parent.parent / "core"

if (SOURCE_ROOT / "lotus_core").is_dir() and str(SOURCE_ROOT) not in sys.path:  # else installed by pip, as one package
    sys.path.insert(0, str(SOURCE_ROOT))
