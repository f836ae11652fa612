"""Before anything is imported: no test reaches for the Hub, one thread a process, helpers import from anywhere."""

from __future__ import annotations

import os
import sys
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
# The tests' tensors are small: a second thread costs more than it brings, and much more on a busy machine.
os.environ["OMP_NUM_THREADS"] = "1"
sys.path.insert(0, str(Path(__file__).parent))

pytest_plugins = ("shared_runs",)
