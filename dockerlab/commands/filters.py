"""Conditions that several lists share."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["labelled"]


def labelled(labels: Mapping[str, str], condition: str) -> bool:
    """Tells whether `KEY` is among the labels, or `KEY=VALUE`."""
    key, equals, wanted = condition.partition("=")
    return key in labels and (not equals or labels[key] == wanted)
