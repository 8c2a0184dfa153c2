"""Makes the programs of the images importable: those modules of theirs that need no more than numpy."""

from __future__ import annotations

import sys
from pathlib import Path

IMAGES = Path(__file__).resolve().parents[3] / "images"

for directory in ("spark/rootfs/opt/sparkml", "onnxserver/rootfs/opt/onnxserver"):
    sys.path.append(str(IMAGES / directory))
