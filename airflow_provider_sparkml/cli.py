"""The `sparkml` command."""

from __future__ import annotations
