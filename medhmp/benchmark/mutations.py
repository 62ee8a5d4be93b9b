"""Changes of a file's bytes, drawn from a seed: what a disk, a network or a hand may do to it."""

import gzip
import json
import random
from collections.abc import Callable, Mapping
from typing import Any, Final

FIELDS: Final = (
    *(
        b"",
        b"NaN",
        b"inf",
        b"1e400",
        b"-1",
        b"0",
        b"9" * 40,
        b'"',
        b"\0",
        b"\xff",
        b"\xf0\x9f\x92\xa5",
    ),
    *(b"2100-13-45 25:61:61", b"NULL", b"\\N", b"a\rb", b"x" * 5000, b'"a""', b"1,2", b"1.5"),
)
"""Texts that a field of a line becomes."""
VALUES: Final[tuple[Any, ...]] = (
    None,
    True,
    -1,
    0,
    1e308,
    10**400,
    "",
    "\0",
    [],
    {},
    [[]],
    "x" * 5000,
)
"""Values that a value of a JSON text becomes."""
DEEP: Final = (500, 20_000, 200_000)
"""Levels of nesting."""


def flip_bits(data: bytes, draw: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(draw.choice((1, 1, 1, 8))):
        if changed:
            changed[draw.randrange(len(changed))] ^= 1 << draw.randrange(8)
    return bytes(changed)


def cut(data: bytes, draw: random.Random) -> bytes:
    return data[: draw.choice((0, draw.randrange(len(data) + 1), max(0, len(data) - 1)))]


def zero(data: bytes, draw: random.Random) -> bytes:
    at, length = _block(data, draw)
    return data[:at] + bytes(length) + data[at + length :]


def swap_blocks(data: bytes, draw: random.Random) -> bytes:
    (a, n), (b, m) = sorted((_block(data, draw), _block(data, draw)))
    n = min(n, b - a)
    return data[:a] + data[b : b + m] + data[a + n : b] + data[a : a + n] + data[b + m :]


def repeat_block(data: bytes, draw: random.Random) -> bytes:
    at, length = _block(data, draw)
    return data[: at + length] + data[at:]


def edit_lines(data: bytes, draw: random.Random) -> bytes:
    lines = data.split(b"\n")
    at, other = draw.randrange(len(lines)), draw.randrange(len(lines))
    how = draw.randrange(5)
    if how == 0:
        del lines[at]
    elif how == 1:
        lines.insert(other, lines[at])
    elif how == 2:
        lines[at], lines[other] = lines[other], lines[at]
    else:
        fields = lines[at].split(b",")
        fields[draw.randrange(len(fields))] = draw.choice(FIELDS)
        lines[at] = b",".join(fields)
    return b"\n".join(lines)


def edit_json(data: bytes, draw: random.Random) -> bytes:
    """Another value somewhere, or a key that is gone; a text that is no JSON gets other bits."""
    try:
        value = json.loads(data)
    except ValueError:
        return flip_bits(data, draw)
    holder: Any = [value]
    key: Any = 0
    while isinstance(holder[key], dict | list) and holder[key] and draw.random() < 0.85:
        holder = holder[key]
        key = draw.choice(list(holder) if isinstance(holder, dict) else range(len(holder)))
    if draw.random() < 0.2 and isinstance(holder, dict):
        del holder[key]
    else:
        changed = draw.choice(VALUES)
        old = holder[key]
        if isinstance(old, int | float) and draw.random() < 0.5:
            changed = old + draw.choice((1, -1, 0.5))
        if holder[key] is value:
            value = changed
        else:
            holder[key] = changed
    return json.dumps(value).encode()


def nest(data: bytes, draw: random.Random) -> bytes:
    begin, end = draw.choice(((b"[", b"]"), (b'{"a": ', b"}"), (b"- ", b""), (b"{a: ", b"}")))
    deep, at = draw.choice(DEEP), draw.choice((0, draw.randrange(len(data) + 1)))
    return data[:at] + begin * deep + draw.choice((b"1", b"")) + end * deep + data[at:]


KINDS: Final[Mapping[str, Callable[[bytes, random.Random], bytes]]] = {
    "bits": flip_bits,
    "cut": cut,
    "zeros": zero,
    "swap": swap_blocks,
    "repeat": repeat_block,
    "lines": edit_lines,
    "json": edit_json,
    "nest": nest,
}
TEXT: Final = (".csv", ".txt", ".json", ".jsonl", ".yaml")
"""Ends of the names of files of text; others get no edits of lines."""


def mutate(name: str, data: bytes, draw: random.Random) -> tuple[str, bytes | None]:
    """A kind of change and the changed bytes; None: the file is gone.

    Of a gzip file the text is changed more often than the archive. The bytes differ from ``data``.
    """
    if draw.random() < 0.03:
        return "gone", None
    if name.endswith(".gz") and not name.endswith(".tar.gz") and draw.random() < 0.7:
        kind, text = mutate(name.removesuffix(".gz"), gzip.decompress(data), draw)
        return kind, None if text is None else gzip.compress(text, 1, mtime=0)
    kinds = list(KINDS)
    if not name.endswith(TEXT):
        kinds = [kind for kind in kinds if kind not in ("lines", "json", "nest")]
    elif not name.endswith((".json", ".jsonl", ".yaml")):
        kinds = [kind for kind in kinds if kind not in ("json", "nest")]
    for _ in range(100):
        kind = draw.choice(kinds)
        changed = KINDS[kind](data, draw)
        if changed != data:
            return kind, changed
    return "gone", None  # nothing changes an empty file


def _block(data: bytes, draw: random.Random) -> tuple[int, int]:
    """Place and length of a block."""
    length = min(len(data), draw.choice((1, 16, 512, 4096)))
    return draw.randrange(len(data) - length + 1), length
