"""HTML that reads well anywhere: tables with inline styles, every value escaped.

Untrusted notebooks lose `<style>`, scripts, ids and inline svg, so nothing here needs them. Colours are translucent tints on the reader's
own background and text keeps the inherited colour, so light and dark both work. No meaning rests on colour alone.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence

from dockerlab.oci.visible import visible

__all__ = ["TINTS", "attribute", "bar", "cell", "escape", "size_words", "table", "visible"]

TINTS = {
    "plain": "",
    "added": "background:rgba(46,160,67,.16)",
    "changed": "background:rgba(210,153,34,.18)",
    "deleted": "background:rgba(218,54,51,.15)",
    "hidden": "background:rgba(128,128,128,.12);opacity:.75",
    "seen": "background:rgba(56,139,253,.14)",
}
_MATHEMATICS = {ord(sign): f"<span>{sign}</span>" for sign in "$\\"}
_BORDER = "border:1px solid rgba(128,128,128,.35)"


def escape(text: object) -> str:
    """Gives any untrusted value as HTML text. Jupyter typesets `$…$` and `\\(…\\)` in a page as mathematics, within one text node: their first characters get elements of their own."""
    return attribute(text).translate(_MATHEMATICS)


def attribute(text: object) -> str:
    """Gives any untrusted value as the inside of a double-quoted attribute."""
    return html.escape(visible(str(text)))


def cell(content: str, *, tint: str = "plain", tag: str = "td", style: str = "", scope: str = "", columns: int = 1) -> str:
    """Gives one table cell around `content`, which is HTML already."""
    rules = ";".join(filter(None, [_BORDER, "padding:.3em .6em;text-align:left;vertical-align:top", TINTS[tint], style]))
    wide = f" colspan={str(columns)!r}" if columns > 1 else ""
    return f'<{tag}{f" scope={scope!r}" if scope else ""}{wide} style="{rules}">{content}</{tag}>'.replace("'", '"')


def size_words(count: int) -> str:
    """Gives bytes in docker's units."""
    value, unit = float(count), 0
    while value >= 1000 and unit < 4:
        value, unit = value / 1000, unit + 1
    return f"{value:.3g}{('B', 'kB', 'MB', 'GB', 'TB')[unit]}"


def bar(share: float, *, width_em: float = 7.0) -> str:
    """Gives a meter for a share between 0 and 1; the number stands beside it in the caller's words."""
    shown = max(min(share, 1.0), 0.0) * width_em
    return (
        f'<span style="display:inline-block;width:{width_em}em;background:rgba(128,128,128,.18)">'
        f'<span style="display:inline-block;width:{shown:.2f}em;height:.7em;background:rgba(56,139,253,.75)"></span></span>'
    )


def table(head: Sequence[str], rows: Iterable[str], *, caption: str) -> str:
    """Gives a table; `head` holds cells' HTML, `rows` whole `<tr>` elements, `caption` plain text, "" where a `<summary>` says it already."""
    above = f'<caption style="text-align:left;caption-side:top;padding:.2em 0;font-weight:600">{escape(caption)}</caption>' if caption else ""
    top = "".join(cell(text, tag="th", scope="col", style="font-weight:600") for text in head)
    return (
        f'<table style="border-collapse:collapse;font-size:.92em;line-height:1.4;margin:.4em 0">{above}'
        f"<thead><tr>{top}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
    )
