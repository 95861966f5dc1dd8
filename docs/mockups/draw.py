"""Draws the mock-ups of the lessons' views from sample values: `python docs/mockups/draw.py` writes beside this file."""

from __future__ import annotations

from pathlib import Path

from dockerlab.widgets import hardening, picture, setid, trace, union

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
SCAN = setid.Scan("me/app:latest", (
    setid.Row("/usr/bin/find", "set-uid root", "-rwsr-xr-x", "root:root", "225kB", 2, "RUN chmod u+s /usr/bin/find", "Dockerfile:3", who="everybody may run it",
              gives="runs any program as root: find . -exec", source="find(1)"),
    setid.Row("/usr/bin/passwd", "set-uid root", "-rwsr-xr-x", "root:root", "68.2kB", 0, "dockerlab recipe: debian", who="everybody may run it", gives="writes one's own password into /etc/shadow",
              source="passwd(1)"),
    setid.Row("/usr/bin/su", "set-uid root", "-rwsr-xr-x", "root:root", "72kB", 0, "dockerlab recipe: debian", "", "cleared", "-rwxr-xr-x", 3, "RUN chmod a-s /usr/bin/su"),
    setid.Row("/usr/bin/wall", "set-gid tty", "-rwxr-sr-x", "root:tty", "39kB", 0, "dockerlab recipe: debian", "", "deleted", "gone", 4, "RUN rm /usr/bin/wall"),
), frozenset({"/usr/bin/find"}))  # fmt: skip
CHANGES = [
    hardening.Change("/usr/bin/find", "acts now", "set-uid root", "-rwxr-xr-x", "-rwsr-xr-x", "root:root", "everybody may run it", "runs any program as root", "", "layer 2: RUN chmod u+s"),
    hardening.Change("/usr/bin/passwd", "still acts", "set-uid root", "-rwsr-xr-x", "-rwsr-xr-x", "root:root", "everybody may run it", "writes one's own password into /etc/shadow"),
    hardening.Change("/usr/bin/su", "acts no more", "set-uid root", "-rwsr-xr-x", "-rwxr-xr-x", "root:root", "everybody may run it", "becomes another user", "", "layer 3: RUN chmod a-s"),
]
STEPS = [
    trace.Step(1, "FROM ubuntu:latest", "base"),
    trace.Step(2, "RUN --mount=type=secret,id=token fetch", "cached", source="5d4fc4a07cc7, made by Other:3",
               remarks=(("SecretChanged", "the secret token is another one than when this step was done, and its image is taken all the same: --no-cache does it again"),)),
    trace.Step(3, "COPY site /srv/", "done", "site/index.html has another content", 0.02, 14_000),
    trace.Step(4, "RUN make $TARGET", "running", "step 3 was done again"),
]  # fmt: skip
BARS = [picture.Bar("busybox", 1_900_000, 82_000), picture.Bar("apt-get install git", 900_000, 2_400_000), picture.Bar("apt-get remove git", 40_000, 0)]
PAGE = '<!doctype html><html lang="en"><meta charset="utf-8"><title>{0}</title><body style="{1};font-family:sans-serif;padding:1em">{2}</body></html>'


def main() -> None:
    """Writes one page a theme and the picture."""
    here = Path(__file__).parent
    body = union.html(STACK) + "<h2>Two layers earlier</h2>" + union.html(STACK, upto=2) + picture.img("Removing adds a layer", BARS)
    scan, beside = setid.html(SCAN), "<h2>Side by side</h2>" + hardening.html("me/app:1", "me/app:2", CHANGES)
    for theme, style in {"light": "background:#fff;color:#1f1f1f", "dark": "background:#111;color:#e4e4e4"}.items():
        (here / f"union-{theme}.html").write_text(PAGE.format(f"Union view, {theme}", style, body))
        (here / f"scan-{theme}.html").write_text(PAGE.format(f"Set-id view, {theme}", style, scan + beside))
        (here / f"trace-{theme}.html").write_text(PAGE.format(f"Build trace, {theme}", style, trace.folded(STEPS, 6) + trace.folded(STEPS[:3], 3, "me/app:latest 0123456789ab")))
    (here / "layers.png").write_bytes(picture.png("Removing adds a layer", BARS))
    (here / "union.txt").write_text(union.text(STACK) + "\n")
    (here / "scan.txt").write_text(setid.text(SCAN) + "\n\n" + hardening.text("me/app:1", "me/app:2", CHANGES) + "\n")
    (here / "trace.txt").write_text(trace.text(STEPS, 6) + "\n")


if __name__ == "__main__":
    main()
