"""Draws the mock-ups of lesson one's views from sample values: `python docs/mockups/draw.py` writes beside this file."""

from __future__ import annotations

from pathlib import Path

from dockerlab.widgets import picture, union

STACK = union.Stack(
    title="tweaked:3, looked at through three files",
    paths=("/HelloWorld", "/bin/vi", "/etc/motd"),
    layers=(
        union.Layer("base", "recipe: busybox, static, every applet a hard link", "1.98MB", ("", "A", "A"), ("", "hard link", "")),
        union.Layer("hello", "touch /HelloWorld", "0B", ("A", "", "")),
        union.Layer("no-vi", "rm /bin/vi", "0B", ("", "D", "")),
        union.Layer("motd", "sh -c 'echo <b>hi</b> > /etc/motd; rm /HelloWorld'", "10B", ("D", "", "C")),
    ),
)
BARS = [picture.Bar("busybox", 1_900_000, 82_000), picture.Bar("apt-get install git", 900_000, 2_400_000), picture.Bar("apt-get remove git", 40_000, 0)]
PAGE = '<!doctype html><html lang="en"><meta charset="utf-8"><title>{0}</title><body style="{1};font-family:sans-serif;padding:1em">{2}</body></html>'


def main() -> None:
    """Writes one page a theme and the picture."""
    here = Path(__file__).parent
    body = union.html(STACK) + "<h2>Two layers earlier</h2>" + union.html(STACK, upto=2) + picture.img("Removing adds a layer", BARS)
    for theme, style in {"light": "background:#fff;color:#1f1f1f", "dark": "background:#111;color:#e4e4e4"}.items():
        (here / f"union-{theme}.html").write_text(PAGE.format(f"Union view, {theme}", style, body))
    (here / "layers.png").write_bytes(picture.png("Removing adds a layer", BARS))
    (here / "union.txt").write_text(union.text(STACK) + "\n")


if __name__ == "__main__":
    main()
