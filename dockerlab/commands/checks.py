"""What docker's client asks of a flag's value before anything is done; each raises ValueError in its words."""

from __future__ import annotations

from dockerlab.oci.reference import Reference

__all__ = ["condition", "image_name", "label", "variable"]


def image_name(text: str) -> None:
    """`build --tag`."""
    Reference.parse(text)


def variable(text: str) -> None:
    """`--env` and `--build-arg`."""
    if not text.partition("=")[0]:
        raise ValueError(f"invalid environment variable: {text}")


def label(text: str) -> None:
    """`--label`."""
    if not text.partition("=")[0]:
        raise ValueError(f"invalid label '{text}': empty name")


def condition(text: str) -> None:
    """`--filter`."""
    if text and "=" not in text:
        raise ValueError("bad format of filter (expected name=value)")
