"""The version, in its one place: the build reads it from here."""

from __future__ import annotations

__version__ = "2.3.0"
