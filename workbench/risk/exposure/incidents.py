"""Thefts and losses of others as they stand in a file: one schema, written as CSV or as JSON.

(1) Shape: a CSV has the columns `id,date,loss_usd,class,source` in this order, a JSON file is a list of
    objects with these fields. Anything else, one column more or a field twice, is refused.
(2) Values: each is refused with its path, `/17/loss_usd` being that of the eighteenth incident. A loss is
    USD, in digits; an empty cell, or null, is a loss that nobody knows. An incident without a source is
    none.
(3) The whole: an id stands once, and no incident is later than the day that is told.

`shape` stops after (1), for those who want everything that is wrong and not only the first. Left to others:
whether the figures are true, and whether a list is a sample (`calibrating`): a list of the largest is not.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from workbench.risk.exposure.plain_yaml import DIGITS_MAX, ScenarioError
from workbench.risk.exposure.scenarios import Bounds, Day, Name, Said

FILE_MAX: Final = 8 * 1024 * 1024  # bytes
INCIDENTS_MAX: Final = 50_000
LOSS_MAX: Final = 10**13
"""USD. More than all there is to steal: a figure in another unit."""
COLUMNS: Final = ("id", "date", "loss_usd", "class", "source")
_STRING: Final = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_DIGITS: Final = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?", re.ASCII)


class IncidentError(ScenarioError):
    """A file of incidents that is not one; `path` says where."""


class IncidentClass(Enum):
    """By which door the money went; `other` is a door that nobody named."""

    KEYS = "keys"
    BLIND_SIGNING = "blind-signing"
    CONTRACT = "contract"
    ACCESS_CONTROL = "access-control"
    ORACLE = "oracle"
    REENTRANCY = "reentrancy"
    INSIDER = "insider"
    GOVERNANCE = "governance"
    OTHER = "other"


def _class(value: object) -> IncidentClass:
    try:
        return IncidentClass(value)
    except ValueError:
        names = ", ".join(each.value for each in IncidentClass)
        raise ValueError(f"none of {names}") from None


class _Row(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, title="Incident")

    id: Name
    date: Day
    loss_usd: Annotated[Decimal, Bounds(ge=0, le=LOSS_MAX)] | None
    door: Annotated[IncidentClass, BeforeValidator(_class), Field(alias="class")]
    source: Said


@dataclass(frozen=True, slots=True)
class Incident:
    """One theft: when, how much (None: nobody knows), by which door, and who says so."""

    id: str
    date: date
    loss_usd: Decimal | None
    door: IncidentClass
    source: str


def read(raw: bytes, *, today: date) -> tuple[Incident, ...]:
    """Read a file, or refuse it with the first wrong value's path."""
    rows = shape(raw)
    made = tuple(_incident(place, row) for place, row in enumerate(rows))
    seen: set[str] = set()
    for place, each in enumerate(made):  # (3)
        if each.id in seen:
            raise IncidentError(f"{each.id!r} twice", path=f"/{place}/id")
        if each.date > today:
            raise IncidentError(f"{each.date} is after {today}", path=f"/{place}/date")
        seen.add(each.id)
    return made


def _incident(place: int, row: Mapping[str, object]) -> Incident:  # (2)
    try:
        made = _Row.model_validate(row)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        raise IncidentError(str(first["msg"]), path=f"/{place}/{first['loc'][0]}") from error
    return Incident(made.id, date.fromisoformat(made.date), made.loss_usd, made.door, made.source)


def shape(raw: bytes) -> list[dict[str, object]]:
    """(1) Return the rows of a CSV or JSON file, whatever their values are."""
    if len(raw) > FILE_MAX:
        raise IncidentError(f"{len(raw)} bytes, at most {FILE_MAX}")
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        raise IncidentError("not UTF-8") from error
    rows = _of_json(text) if text.lstrip()[:1] == "[" else _of_csv(text)
    if not 1 <= len(rows) <= INCIDENTS_MAX:
        raise IncidentError(f"{len(rows)} incidents, 1 to {INCIDENTS_MAX}")
    return rows


def _of_csv(text: str) -> list[dict[str, object]]:
    try:
        header, *lines = list(csv.reader(io.StringIO(text, newline=""), strict=True)) or [[]]
    except csv.Error as error:
        raise IncidentError(f"no CSV: {error}") from error
    if tuple(header) != COLUMNS:
        raise IncidentError(f"columns {','.join(header)!r:.200}, must be {','.join(COLUMNS)!r}")
    for place, line in enumerate(lines):
        if len(line) != len(COLUMNS):
            raise IncidentError(f"{len(line)} cells, must be {len(COLUMNS)}", path=f"/{place}")
    return [dict(zip(COLUMNS, line, strict=True)) | {"loss_usd": _cell(line[2])} for line in lines]


def _cell(written: str) -> object:
    # What is no number stays text, and is refused as one.
    if not written:
        return None
    return Decimal(written) if len(written) <= DIGITS_MAX and _DIGITS.fullmatch(written) else written


def _of_json(text: str) -> list[dict[str, object]]:
    # Before it is parsed: where a library has raised Python's limit of recursion, depth kills the process.
    bare = _STRING.sub("", text)
    if bare.count("[") != 1 or re.search(r"\{[^}]*\{", bare):
        raise IncidentError("deeper than a list of objects")
    try:
        rows = json.loads(
            text,
            object_pairs_hook=_once,
            parse_float=_exact,
            parse_int=_exact,
            parse_constant=_constant,
        )
    except ValueError as error:
        if isinstance(error, ScenarioError):
            raise
        raise IncidentError(f"no JSON: {error!s:.200}") from error
    for place, row in enumerate(rows):
        if not isinstance(row, dict):
            raise IncidentError("not an object", path=f"/{place}")
        strange = [name for name in row if name not in COLUMNS]
        missing = [name for name in COLUMNS if name not in row]
        if strange or missing:
            detail = "no such field" if strange else "missing"
            raise IncidentError(detail, path=f"/{place}/{(strange or missing)[0]:.64}")
    return list(rows)


def _once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise IncidentError("a field twice")
    return made


def _exact(written: str) -> Decimal:
    value = Decimal(written)
    if len(written) > DIGITS_MAX or abs(value.adjusted()) > DIGITS_MAX:
        raise IncidentError(f"more than {DIGITS_MAX} digits")
    return value


def _constant(written: str) -> object:
    raise IncidentError(f"no number: {written}")


def schema() -> dict[str, Any]:
    """Return the JSON Schema of the JSON form; `policies/scenarios/incidents.schema.json` is this."""
    row = _Row.model_json_schema()
    door = {"enum": [each.value for each in IncidentClass], "type": "string"}
    row.pop("$defs")
    row["properties"]["class"] = door
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Incidents",
        "type": "array",
        "minItems": 1,
        "maxItems": INCIDENTS_MAX,
        "items": row,
    }
