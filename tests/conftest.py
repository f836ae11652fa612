"""Before anything is imported: no test reaches for the Hub, and `samples` can be imported from any folder."""

from __future__ import annotations

import os
import sys
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
sys.path.insert(0, str(Path(__file__).parent))
