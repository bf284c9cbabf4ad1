"""How two versions of a policy set's file differ: value by value for JSON, line by line for text.

Nothing is summed up and nothing is left out: two files without a difference hold the same values in
the same order, or the same lines. So a place tells a list's member ("[usdc]") from an object's, and a
text that reads as a number or a word of JSON stands in quotes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any, Final

from workbench.rules.documents import DOCUMENT_MAX, read_json

NAMES: Final = ("id", "address", "asset", "name")
"""What tells the members of a list apart, where one of these does."""
JSON: Final = ".json"
WHOLE: Final = "(all of it)"
PLAIN: Final = re.compile(r"#?[A-Za-z0-9_./:-]+")


@dataclass(frozen=True, slots=True)
class Difference:
    """One value or line: where it stands, and what it was and is; None where there is none."""

    place: str
    before: str | None
    after: str | None


def differences(name: str, before: bytes, after: bytes) -> list[Difference]:
    """Return every difference between two files of this name, in the order of their places."""
    return list(_values(before, after) if name.endswith(JSON) else _lines(before.decode(), after.decode()))


def _values(before: bytes, after: bytes) -> Iterator[Difference]:
    old, new = (dict(_flat(read_json(raw, limit=DOCUMENT_MAX), "")) for raw in (before, after))
    for place in [*old, *(each for each in new if each not in old)]:
        was, becomes = old.get(place), new.get(place)
        if was != becomes:
            yield Difference(place, was, becomes)
    stays = [[place for place in one if place in other] for one, other in ((old, new), (new, old))]
    if stays[0] != stays[1]:
        moved = next(pair for pair in zip(*stays, strict=True) if pair[0] != pair[1])
        yield Difference("the order", *moved)


def _flat(value: Any, place: str) -> Iterator[tuple[str, str]]:  # noqa: ANN401 - the JSON edge
    members: Mapping[str, Any] | None = None
    if isinstance(value, dict) and value:
        members = value
    elif isinstance(value, list) and value and all(isinstance(each, dict) for each in value):
        members = _named(value)
    if members is None:
        yield place or WHOLE, _text(value)
        return
    for name, each in members.items():
        step = _step(name) if isinstance(value, dict) else f"[{_step(name)}]"
        yield from _flat(each, f"{place} · {step}" if place else step)


def _named(members: list[dict[str, Any]]) -> dict[str, Any]:
    for field in NAMES:
        names = [each.get(field) for each in members]
        if all(isinstance(name, str) for name in names) and len(set(names)) == len(names):
            return dict(zip(map(str, names), members, strict=True))
    return {f"#{number}": each for number, each in enumerate(members, start=1)}


def _step(name: str) -> str:
    return name if PLAIN.fullmatch(name) else json.dumps(name)


def _text(value: object) -> str:
    if isinstance(value, str) and value.isprintable() and value == value.strip() and not _means_json(value):
        return value
    text = json.dumps(value, ensure_ascii=False)
    # what does not print, or prints as something else, is spelled out
    return text if text.isprintable() else json.dumps(value)


def _means_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return text == ""
    return True


def _lines(before: str, after: str) -> Iterator[Difference]:
    old, new = before.split("\n"), after.split("\n")
    for kind, from_old, to_old, from_new, to_new in SequenceMatcher(
        None, old, new, autojunk=False
    ).get_opcodes():
        if kind == "equal":
            continue
        for number in range(from_old, to_old):
            yield Difference(f"line {number + 1} of before", _rule(old[number]), None)
        for number in range(from_new, to_new):
            yield Difference(f"line {number + 1} of now", None, _rule(new[number]))


def _rule(line: str) -> str:
    # rules compare names, and those have other alphabets' letters in none: one that looks like ours is told
    return _text(line) if line.isascii() else json.dumps(line)
