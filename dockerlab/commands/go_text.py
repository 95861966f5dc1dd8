"""Go's own ways to print, to quote and to write JSON.

Sources: the Go packages fmt, strconv and encoding/json.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any

from dockerlab.errors import InvalidArgument

__all__ = ["NIL", "NilList", "NilMap", "Struct", "Time", "as_bytes", "as_json", "compact_json", "go_text", "go_type", "printf", "quoted", "visible"]

_MAX_WIDTH = 1_000_000
_BACK = {"\a": "\\a", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\v": "\\v", '"': '\\"', "\\": "\\\\"}
_VERB = re.compile(r"%([-+# 0]*)(\d{0,9})(?:(\.)(\d{0,3}))?(.?)", re.DOTALL | re.ASCII)
_TYPES: tuple[tuple[Any, str], ...] = (
    (bool, "bool"),
    (int, "int"),
    (float, "float64"),
    (str, "string"),
    (Mapping, "map[string]interface {}"),
)


class Time(str):
    """A moment: JSON shows it as documents have it (RFC 3339), everything else as Go's time.Time.String does."""

    def __str__(self) -> str:
        day, _, clock = self[:].partition("T")
        return f"{day} {clock.removesuffix('Z').rstrip('0').rstrip('.') if '.' in clock else clock.removesuffix('Z')} +0000 UTC"


class Struct(dict[str, Any]):
    """A Go struct whose fields with nothing in them are `absent` from its JSON, but not from a template. Any other dict is a map."""

    def __init__(self, facts: Mapping[str, Any], **absent: Any) -> None:
        super().__init__(facts)
        self.absent = {name: value for name, value in absent.items() if name not in facts}


class NilMap(dict[str, Any]):
    """A Go map that was never made: `null` in JSON, `map[]` in a text."""


class NilList(list[Any]):
    """A Go slice that was never made: `null` in JSON, `[]` in a text."""


class _Nil:
    def __bool__(self) -> bool:
        return False


NIL = _Nil()  # a pointer to nothing: `null` in JSON, `<nil>` in a text


def as_json(value: Any) -> Any:
    """Gives a value as Go writes it, for `json.dumps`: without Go's kinds of nothing, whole numbers without a point."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e21:
        return int(value)
    if value is NIL or isinstance(value, (NilMap, NilList)):
        return None
    if isinstance(value, Mapping):
        return {str(key): as_json(item) for key, item in value.items()}
    return [as_json(item) for item in value] if isinstance(value, (list, tuple)) else value


def visible(char: str) -> str:
    """The character as an escape: `\\n`, `\\x1b`, `\\u202e`; a stray byte as that byte."""
    code = ord(char)
    if char in "\n\r\t":
        return _BACK[char]
    if code < 0x100 or 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code & 0xFF:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def quoted(text: str) -> str:
    """The text as Go's `%q` writes it: in double quotes, escapes for what cannot be printed."""
    if text.isprintable() and '"' not in text and "\\" not in text:
        return f'"{text}"'
    return '"' + "".join(_BACK.get(char) or (char if char.isprintable() else _go_escape(char)) for char in text) + '"'


def _go_escape(char: str) -> str:
    return f"\\u{ord(char):04x}" if 0x7F < ord(char) < 0x100 else visible(char)


def compact_json(value: object, *, html: bool = False) -> str:
    """Go's JSON on one line, keys in the order given; with `html` also `<`, `>` and `&` as escapes, as json.Marshal has it.

    Raises InvalidArgument for what JSON has no words for: NaN, a circle, hundreds of levels.
    """
    try:
        text = json.dumps(as_json(value), ensure_ascii=False, separators=(",", ":"), default=str, allow_nan=False)
    except (ValueError, TypeError, RecursionError):
        raise InvalidArgument("a value that cannot be written as JSON") from None
    text = text.replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
    text = text if text.isascii() else re.sub("[\ud800-\udfff]", "\ufffd", text)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026") if html else text


def go_type(value: object) -> str:
    """The name Go would give the value's type."""
    return next((name for kind, name in _TYPES if isinstance(value, kind)), "<nil>" if value is None else "[]interface {}")


def go_text(value: object) -> str:
    """The value as `%v` prints it: `[a b]`, `map[a:1 b:2]`, `<nil>`, `true`."""
    return _print(value, "v", "", None, 0)


def printf(template: str, values: Sequence[object]) -> str:
    """Go's Sprintf for the values JSON can hold; what does not fit is said in the text, as in `%!d(string=a)`."""
    rest = list(values)

    def one(found: re.Match[str]) -> str:
        flags, width, dot, digits, verb = found.groups()
        if verb in ("", "%"):
            return verb or "%!(NOVERB)"
        if not rest:
            return f"%!{verb}(MISSING)"
        value = rest.pop(0)
        if verb == "T":
            return go_type(value)
        if int(width or 0) > _MAX_WIDTH:
            return f"%!(BADWIDTH){go_text(value)}"
        return _fill(_print(value, verb, flags, int(digits or 0) if dot else None, 0), flags, int(width or 0))

    text = _VERB.sub(one, template)
    return text + f"%!(EXTRA {', '.join(map(_typed, rest))})" if rest else text


def _fill(text: str, flags: str, width: int) -> str:
    if "-" in flags:
        return text.ljust(width)
    if "0" not in flags:
        return text.rjust(width)
    return text[:1] + text[1:].rjust(width - 1, "0") if text[:1] in ("-", "+") else text.rjust(width, "0")


def _typed(value: object) -> str:
    return "<nil>" if value is None else f"{go_type(value)}={go_text(value)}"


def _print(value: Any, verb: str, flags: str, digits: int | None, depth: int) -> str:
    if depth > 100:
        raise InvalidArgument("a value with too many levels to print")

    def inner(item: Any) -> str:
        return _print(item, verb, flags, digits, depth + 1)

    if isinstance(value, Struct):
        return f"{{{' '.join(map(inner, value.values()))}}}"
    if isinstance(value, Mapping):
        pairs = sorted(value.items(), key=lambda pair: str(pair[0]))
        return f"map[{' '.join(f'{inner(str(key))}:{inner(item)}' for key, item in pairs)}]"
    if isinstance(value, (list, tuple)):
        return f"[{' '.join(map(inner, value))}]"
    if value is None or value is NIL:
        return "<nil>" if verb == "v" or depth else f"%!{verb}(<nil>)"
    printer = next((printer for kind, printer in _PRINTERS if isinstance(value, kind)), _string)
    shown = printer(value, verb, flags, digits)
    return f"%!{verb}({_typed(value)})" if shown is None else shown


def _bool(value: bool, verb: str, flags: str, digits: int | None) -> str | None:
    return ("false", "true")[value] if verb in ("v", "t") else None


def _integer(value: int, verb: str, flags: str, digits: int | None) -> str | None:
    if verb in ("c", "q", "U"):
        char = chr(value) if 0 <= value < 0x110000 else "\ufffd"
        return f"U+{value:04X}" if verb == "U" else char if verb == "c" else f"'{char}'"
    if verb not in ("v", "d", "x", "X", "o", "b"):
        return None
    prefix = {"x": "0x", "X": "0X", "o": "0", "b": "0b"}.get(verb, "") if "#" in flags else ""
    return _sign(value < 0, flags) + prefix + format(abs(value), "d" if verb == "v" else verb)


def _sign(negative: bool, flags: str) -> str:
    return "-" if negative else "+" if "+" in flags else " " if " " in flags else ""


def _real(value: float, verb: str, flags: str, digits: int | None) -> str | None:
    if verb not in ("v", "e", "E", "f", "F", "g", "G"):
        return None
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else _sign(value < 0, flags + "+") + "Inf"
    sign = _sign(math.copysign(1, value) < 0, flags)
    if verb in ("v", "g", "G") and digits is None:
        text = _shortest(abs(value))
        return sign + (text.upper() if verb == "G" else text)
    return sign + format(abs(value), f".{6 if digits is None else digits}{'g' if verb == 'v' else verb}")


def _shortest(value: float) -> str:
    """The fewest digits that give the number back; from a million on, and below 0.0001, with an exponent."""
    number = Decimal(repr(value)).normalize()
    power = number.adjusted() if number else 0
    if -4 <= power < 6:
        return format(number, "f")
    digits = "".join(map(str, number.as_tuple().digits))
    return f"{digits[0]}{'.' if digits[1:] else ''}{digits[1:]}e{power:+03d}"


def _string(value: object, verb: str, flags: str, digits: int | None) -> str | None:
    text = str(value)[:digits]
    if verb in ("x", "X"):
        return as_bytes(text).hex() if verb == "x" else as_bytes(text).hex().upper()
    return text if verb in ("v", "s") else quoted(text) if verb == "q" else None


def as_bytes(text: str) -> bytes:
    """The text in UTF-8; stray bytes (Python's surrogates) as they were, other halves of a pair as Go's U+FFFD."""
    return re.sub("[\ud800-\udc7f\udd00-\udfff]", "\ufffd", text).encode("utf-8", "surrogateescape")


_PRINTERS: tuple[tuple[type, Callable[[Any, str, str, int | None], str | None]], ...] = ((bool, _bool), (int, _integer), (float, _real))


