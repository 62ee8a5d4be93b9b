"""The columns of a MEDS file: the Arrow types that each may have, and how each is read.

Writers differ in how they store the same: strings as views, large or in a dictionary, times in any
unit or in UTC, identifiers as floats where some are null. All of that is read where nothing is
lost. An identifier of 64 unsigned bits is read as the signed integer of the same bits, which loses
nothing either: those from 2^63 on become negative, and adding 2^64 gives them back.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from medhmp.refusal import Refusal

EXACT: Final = 2**53
"""Whole numbers up to here are floats exactly."""

_TIME: Final = pa.timestamp("us")
_TEXT: Final = pa.large_string()
_ID: Final = pa.int64()

_UTC: Final = re.compile(r"(etc/)?(utc|uct|gmt|zulu|universal)|z", re.IGNORECASE)
_OFFSET: Final = re.compile(r"[+-]\d\d:?\d\d|Etc/GMT[+-]\d+")


@dataclass(frozen=True)
class Kind:
    """What a column holds."""

    words: str  # the types it may have
    fits: Callable[[pa.DataType], bool]
    # Values as the type that the reader works with. A ValueError says what is wrong with them.
    read: Callable[[pa.Array], pa.Array]


def plain(kind: pa.DataType) -> pa.DataType:
    """The type of the values, without extension and dictionary."""
    while isinstance(kind, pa.BaseExtensionType) or pa.types.is_dictionary(kind):
        extended = isinstance(kind, pa.BaseExtensionType)
        kind = kind.storage_type if extended else kind.value_type
    return kind


def _plain(values: Any) -> Any:
    while isinstance(values, pa.ExtensionArray | pa.DictionaryArray):
        if isinstance(values, pa.ExtensionArray):
            values = values.storage
        else:
            values = _text(values.dictionary).take(values.indices)
    return values


def _is_text(kind: pa.DataType) -> bool:
    of = pa.types
    tests = (of.is_string, of.is_large_string, of.is_string_view, of.is_null)
    return any(test(plain(kind)) for test in tests)


def _text(values: pa.Array) -> pa.Array:
    return _plain(values).cast(_TEXT)


def _is_number(kind: pa.DataType) -> bool:
    of = pa.types
    return any(test(kind) for test in (of.is_floating, of.is_integer, of.is_decimal, of.is_null))


def _number(values: pa.Array) -> pa.Array:
    return values.cast(pa.float64(), safe=False)  # of more than 53 bits: the nearest


def _is_id(kind: pa.DataType) -> bool:
    return _is_number(kind) or _is_text(kind)


def _id(values: pa.Array) -> pa.Array:
    if pa.types.is_uint64(values.type):
        return values.view(_ID)
    if _is_text(values.type):
        return _spelled(_text(values))
    if pa.types.is_floating(values.type):
        return _whole(values.cast(pa.float64()))
    return values.cast(_ID)  # refuses a decimal with a fraction, or of more than 64 bits


def _spelled(texts: pa.Array) -> pa.Array:
    """Texts that spell whole numbers of 64 bits, each in the one way that tells it apart."""
    if pc.all(pc.match_substring_regex(texts, r"^(0|-?[1-9][0-9]{0,18})$")).as_py() not in (
        True,
        None,
    ):
        raise ValueError("texts that are not whole numbers of 64 bits")
    return texts.cast(_ID)


def _whole(numbers: pa.Array) -> pa.Array:
    """Floats that are whole numbers, exactly. NaN is null, as pandas has it."""
    numbers = pc.if_else(pc.is_nan(numbers), None, numbers)
    low, high = pc.min_max(numbers).as_py().values()
    if low is not None and max(-low, high) > EXACT:
        raise ValueError("floats above 2^53, which cannot tell all ids apart")
    return numbers.cast(_ID)


def _is_time(kind: pa.DataType) -> bool:
    of = pa.types
    return any(test(kind) for test in (of.is_timestamp, of.is_date, of.is_null))


def zone_of(kind: pa.DataType) -> str:
    """The zone of a timestamp whose clock is put forward and back; empty for any other type.

    Local times there are hours that come twice, and instants lose the days of birth and death.
    """
    zone = kind.tz if pa.types.is_timestamp(kind) else None
    steady = zone is None or _UTC.fullmatch(zone) or _OFFSET.fullmatch(zone)
    return "" if steady else str(zone)


def _time(values: pa.Array) -> pa.Array:
    """Clock times without a zone. Those at an offset from UTC are times of the clock there."""
    zone = getattr(values.type, "tz", None)
    if zone and _OFFSET.fullmatch(zone):
        values = pc.local_timestamp(values)
    return values.cast(options=pc.CastOptions(_TIME, allow_time_truncate=True))


ID: Final = Kind("int64", _is_id, _id)
TEXT: Final = Kind("a string", _is_text, _text)
NUMBER: Final = Kind("a number", _is_number, _number)
TIME: Final = Kind("a timestamp", _is_time, _time)

_TARGETS: Final = {ID.words: _ID, TEXT.words: _TEXT, NUMBER.words: pa.float64(), TIME.words: _TIME}


def nothing(kind: Kind, rows: int) -> pa.Array:
    """Nulls of the type that a kind is read as."""
    return pa.nulls(rows, _TARGETS[kind.words])


def read(kind: Kind, values: pa.Array, where: str, remedy: str) -> pa.Array:
    """The values of a column that fits its kind.

    Refuses values that cannot be read; ``where`` names the column and the file.
    """
    if pa.types.is_null(values.type):
        return nothing(kind, len(values))
    try:
        return kind.read(values)
    except ValueError as error:  # Arrow's own errors are ValueErrors, too, and may quote data
        said = str(error) if type(error) is ValueError else f"values that {kind.words} cannot hold"
        raise Refusal(f"{where} has {said}; {remedy}") from None
    except pa.ArrowException:
        raise Refusal(
            f"{where} is {values.type}, which cannot be read as {kind.words}; {remedy}"
        ) from None
