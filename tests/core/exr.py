"""EXR files as another program writes them: by the library itself."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import OpenEXR


def write_exr(path: Path, planes: Mapping[str, np.ndarray]) -> None:
    """Channels of one size, or "RGB" H×W×3, in a file of one part; its name may have any ending."""
    with OpenEXR.File({"type": OpenEXR.scanlineimage}, dict(planes)) as file:
        file.write(str(path))
