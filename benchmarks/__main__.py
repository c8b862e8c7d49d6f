"""Run every benchmark: ``python -m benchmarks``, or some: ``python -m benchmarks kernel spectra``."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

names = sys.argv[1:] or sorted(
    p.stem for p in Path(__file__).parent.glob("*.py") if not p.stem.startswith("_")
)
for name in names:
    importlib.import_module(f"benchmarks.{name}").main()
