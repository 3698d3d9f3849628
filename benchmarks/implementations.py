"""Imports an implementation by name; the official one stands beside ours as `icechunk_official`.

`tools/install_official.py` puts it there.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import ModuleType

OURS = "icechunk"
OFFICIAL = "icechunk_official"


def implementation(name: str) -> ModuleType:
    """Import one, without its warnings about local directories."""
    os.environ.setdefault("ICECHUNK_LOG", "error")
    return importlib.import_module(name)
