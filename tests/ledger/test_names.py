"""Names that stand twice are found whatever fits into memory, and what does not fit is not kept there."""

from pathlib import Path

import pytest

from ledger import names
from ledger.names import Names

TWICE = ("a", "b", "a", "c", "d", "b", "e")
"""Two of these repeat: the third and the sixth."""


def kept(found: Names) -> int:
    """Return how many names are held in memory."""
    return sum(len(part) for part in found._parts) // names.RECORD.size


@pytest.mark.parametrize("buffer", [1, 2, 3, 7, 8])
def test_repeats(buffer: int) -> None:
    """How many rows repeat a name, and the first of them, does not depend on what memory holds."""
    with Names(buffer=buffer) as found:
        for place, name in enumerate(TWICE):
            found.add("/desk/1", name, place)
            # the buffer bounds what is held, and is used up to its end
            assert kept(found) == (place + 1) % buffer
        assert found.repeats() == (2, 2)
        assert found.repeats() == (2, 2)


def test_nothing_is_written_before_it_must() -> None:
    """Below the buffer no file is made; above it they are gone when the reading ends."""
    with Names(buffer=2) as found:
        found.add("/desk/1", "a", 0)
        assert found._folder is None
        found.add("/desk/1", "b", 1)
        assert found._folder is not None
        folder = Path(found._folder.name)
        assert len(list(folder.iterdir())) == names.PARTITIONS
    assert not folder.exists()
    with Names() as found:
        assert found.repeats() == (0, None)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param(("a:", "b"), ("a", ":b"), id="a colon moves over"),
        pytest.param((None, "b"), ("-", "b"), id="no source is not a dash"),
        pytest.param(("a", None), ("a", ""), id="no name is not an empty one"),
        pytest.param(("a", None), ("a", "None"), id="no name is not the word"),
        pytest.param((None, "b"), ("None", "b"), id="no source is not the word"),
        pytest.param(("a", "b"), ("b", "a"), id="the other way round"),
        pytest.param(("é", "b"), ("e", "b"), id="another letter"),
    ],
)
def test_different_names(one: tuple[str | None, str | None], other: tuple[str | None, str | None]) -> None:
    """Names that differ anywhere are two names."""
    assert names.digest(*one) != names.digest(*other)
    with Names() as found:
        found.add(*one, 0)
        found.add(*other, 1)
        assert found.repeats() == (0, None)
        found.add(*one, 2)
        assert found.repeats() == (1, 2)


def test_any_repeat_may_be_the_first() -> None:
    """The first repeat is the smallest place, whatever partition its name falls into."""
    for first in range(40):
        with Names(buffer=16) as found:
            for place in range(40):
                found.add("/desk/1", str(place), place)
            for place, name in enumerate((39, first, 0), 40):
                found.add("/desk/1", str(name), place)
            assert found.repeats() == (3, 40)
