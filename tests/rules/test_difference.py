"""Differences: whatever differs is shown, and what is shown differs."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.encoding import canonical
from workbench.rules.difference import Difference, differences

NAMES = st.sampled_from(["id", "name", "a", "b", "[a]", "a.b", "a b", "#1", ""])
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.sampled_from(["", "1", "true", "a", "[]", "\u202e", "\n"]),
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=8,
)


def raw(value: Any) -> bytes:
    """Return a file of this value."""
    return canonical(value, limit=2**20)


@given(before=VALUES, after=VALUES)
def test_equal_or_shown(before: Any, after: Any) -> None:
    """Two values without a difference are one."""
    same = json.dumps(before, sort_keys=True) == json.dumps(after, sort_keys=True)
    assert (differences("x.json", raw(before), raw(after)) == []) is same


LINES = st.text(st.sampled_from("ab\n\r\u2028\u202e \t"), max_size=12)


@given(before=LINES, after=LINES)
def test_equal_or_shown_as_lines(before: str, after: str) -> None:
    """Two texts without a difference are one, to the last line ending."""
    found = differences("policies.cedar", before.encode(), after.encode())
    assert (found == []) is (before == after)
    assert all(each.before != each.after for each in found)


@pytest.mark.parametrize(
    ("before", "after", "found"),
    [
        pytest.param({"a": 1}, {"a": 2}, [Difference("a", "1", "2")], id="a number"),
        pytest.param({"a": 1}, {"a": "1"}, [Difference("a", "1", '"1"')], id="a number and its text"),
        pytest.param(
            {"a": "x"}, {"a": "x\u202e"}, [Difference("a", "x", '"x\\u202e"')], id="what does not print"
        ),
        pytest.param(
            {"roles": ["a"]}, {"roles": ["a", "b"]}, [Difference("roles", '["a"]', '["a", "b"]')], id="a list"
        ),
        pytest.param(
            [{"id": "a", "n": 1}, {"id": "b", "n": 1}],
            [{"id": "b", "n": 2}],
            [
                Difference("[a] · id", "a", None),
                Difference("[a] · n", "1", None),
                Difference("[b] · n", "1", "2"),
            ],
            id="members by name",
        ),
        pytest.param(
            [{"id": "a"}, {"id": "b"}],
            [{"id": "b"}, {"id": "a"}],
            [Difference("the order", "[a] · id", "[b] · id")],
            id="another order",
        ),
        pytest.param([{"n": 1}], [{"n": 2}], [Difference("[#1] · n", "1", "2")], id="members without names"),
    ],
)
def test_what_is_shown(before: Any, after: Any, found: list[Difference]) -> None:
    """Each value that differs, by its place."""
    assert differences("x.json", raw(before), raw(after)) == found


def test_lines() -> None:
    """A text is compared line by line: what is gone, then what has come."""
    assert differences("policies.cedar", b"one\ntwo\n", b"one\nthree\n") == [
        Difference("line 2 of before", "two", None),
        Difference("line 2 of now", None, "three"),
    ]


def test_letters_that_look_like_others() -> None:
    """A rule that was put out of force by another alphabet's letter does not look as it did."""
    before, after = b'resource.tier == "cold"', 'resource.tier == "c\u043eld"'.encode()
    assert differences("policies.cedar", before, after) == [
        Difference("line 1 of before", 'resource.tier == "cold"', None),
        Difference("line 1 of now", None, '"resource.tier == \\"c\\u043eld\\""'),
    ]
