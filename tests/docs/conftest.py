"""Make docs_pages importable: pytest's importlib mode does not add this folder to sys.path."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
