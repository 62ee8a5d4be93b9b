"""The types that raw tables are read as, and values of other types or spellings as these.

An empty field is null. So is, in a column of whole numbers, numbers or times, each of ``NULLS``: it
can mean nothing else. In a column of text only ``TEXT_NULLS`` are, which databases write for null:
they are counted, as a text may read so; every other spelling stays text, since NA is a name, too.
"""

from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

INTEGER: Final = pa.int64()
NUMBER: Final = pa.float64()
TIME: Final = pa.timestamp("s")
TEXT: Final = pa.string()

WORDS: Final = {
    INTEGER: "a whole number",
    NUMBER: "a number",
    TIME: "a time as YYYY-MM-DD HH:MM:SS",
    TEXT: "UTF-8 text",
}
"""Type -> what a refusal calls it."""

TEXT_NULLS: Final = (r"\N", "NULL")
NULLS: Final = (
    *("", *TEXT_NULLS, "null", "Null", "NA", "N/A", "n/a", "<NA>", "None", "none"),
    *("NaN", "nan", "NAN", "NaT", "."),
)
"""Spellings of null by MySQL, SQL Server, R, pandas and SAS."""

_UTC: Final = ("UTC", "Etc/UTC", "GMT", "Z", "+00:00")


def as_kind(values: pa.Array, kind: pa.DataType) -> pa.Array:
    """Values as one of the four types; texts that are null are still texts.

    Text may have blanks around a number or a time, a fraction of zeros behind a whole number, a
    fraction of a second (cut off) or a UTC zone behind a time. Raises ``pa.ArrowInvalid`` for a
    value that is nothing of the kind, ``pa.ArrowNotImplementedError`` for a type of which none is.
    """
    values = _plain(values)
    if values.type == pa.string() and kind != TEXT:
        return _parsed(values, kind)
    given = values.type
    if pa.types.is_timestamp(given) or pa.types.is_date(given):
        if kind not in (TIME, TEXT):
            raise pa.ArrowNotImplementedError("a time")
        return _naive(values).cast(kind)
    if kind == TIME and not pa.types.is_null(given):
        raise pa.ArrowNotImplementedError("no time")
    if pa.types.is_boolean(given) and kind == NUMBER:
        raise pa.ArrowNotImplementedError("a truth")
    if pa.types.is_temporal(given):
        raise pa.ArrowNotImplementedError("a time of day or a duration")
    if pa.types.is_floating(given):
        values = pc.if_else(pc.is_nan(values), None, values)  # null, as pandas writes it
    return values.cast(kind, safe=kind != NUMBER)  # a CSV's long numbers are rounded, too


def first_misfit(values: pa.Array, kind: pa.DataType) -> int:
    """The place of the first value that ``as_kind`` refuses; the length if there is none."""
    low, high = 0, len(values)
    while low < high:  # the first ``low`` values fit; one before ``high`` does not, or all fit
        middle = (low + high) // 2
        if fits(values.slice(low, middle + 1 - low), kind):
            low = middle + 1
        else:
            high = middle
    return low


def fits(values: pa.Array, kind: pa.DataType) -> bool:
    """True if ``as_kind`` takes all values."""
    try:
        as_kind(values, kind)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return False
    return True


def nulled(texts: pa.Array) -> tuple[pa.Array, int]:
    """Texts, with null for an empty one and for ``TEXT_NULLS``; how many were one of the latter."""
    spelled = pc.equal(texts, TEXT_NULLS[0])
    for spelling in TEXT_NULLS[1:]:
        spelled = pc.or_(spelled, pc.equal(texts, spelling))
    null = pc.or_(spelled, pc.equal(texts, ""))
    if not pc.any(null).as_py():
        return texts, 0
    return pc.if_else(null, pa.scalar(None, texts.type), texts), pc.sum(spelled).as_py() or 0


def _plain(values: pa.Array) -> pa.Array:
    """Values without an encoding: dictionaries decoded, every form of text as ``string``."""
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    kind = values.type
    text = pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    data = pa.types.is_binary(kind) or pa.types.is_large_binary(kind)
    if text or data or pa.types.is_binary_view(kind):
        return values.cast(pa.string())  # refuses bytes that are not UTF-8
    return values


def _naive(values: pa.Array) -> pa.Array:
    """Times in whole seconds without their zone, which must be UTC: another would shift them."""
    zone = getattr(values.type, "tz", None)
    if zone is not None and zone not in _UTC:
        raise pa.ArrowNotImplementedError("a time of another zone")
    if pa.types.is_date(values.type):
        return values.cast(pa.timestamp("ms")).cast(TIME)
    naive = values.cast(pa.timestamp(values.type.unit))
    return pc.floor_temporal(naive, unit="second").cast(TIME)


_REST: Final = {
    INTEGER: (r"^\+?(-?\d+)\.0*$|^\+(\d+)$", r"\1\2"),
    NUMBER: (r"^\+(.*)$", r"\1"),
    TIME: (
        r"^(\d{4}-\d\d-\d\d)(?:[ T](\d\d:\d\d(?::\d\d)?)(?:\.\d+)?)? ?(?:Z|UTC|\+00(?::?00)?)?$",
        r"\1 \2",
    ),
}
"""Type -> spellings that Arrow does not parse, and what it is given for them."""


def _parsed(texts: pa.Array, kind: pa.DataType) -> pa.Array:
    text = pc.utf8_trim_whitespace(texts)
    text = pc.if_else(pc.is_in(text, value_set=pa.array(NULLS)), pa.scalar(None, TEXT), text)
    text = pc.utf8_trim_whitespace(pc.replace_substring_regex(text, *_REST[kind]))
    return text.cast(kind)
