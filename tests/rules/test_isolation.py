"""What shuts a co-signer in: every measure is named, and under a production trust root none is missing."""

from __future__ import annotations

from typing import Any

import pytest

from workbench.rules.codes import Refusal, RefusedError
from workbench.rules.isolation import MEASURES, Isolation, Measure, check, found


def without(*names: Measure) -> Isolation:
    """Return what is found where these measures are missing."""
    return found({name: (name not in names, f"saw {name}") for name in MEASURES})


def test_every_measure_is_named() -> None:
    """Held or missing, in one order."""
    isolation = without("no_network")
    assert [each.measure for each in isolation.measures] == list(MEASURES)
    assert isolation.missing == ("no_network",)
    assert Isolation.load(isolation.dump()) == isolation


@pytest.mark.parametrize("name", MEASURES)
def test_production_demands_each(name: Measure) -> None:
    """Whichever is missing is named, with what was seen in its place, and no other."""
    with pytest.raises(RefusedError) as caught:
        check(without(name), profile="production")
    assert caught.value.code is Refusal.ISOLATION
    assert f"{name} (saw {name})" in caught.value.detail
    assert not any(f"{other} (" in caught.value.detail for other in MEASURES if other != name)


@pytest.mark.parametrize(
    ("missing", "profile"),
    [
        pytest.param((), "production", id="nothing is missing in production"),
        pytest.param(MEASURES, "demo", id="a demo runs without any"),
    ],
)
def test_what_passes(missing: tuple[Measure, ...], profile: str) -> None:
    """Only a demo's trust root lets a co-signer start without."""
    check(without(*missing), profile=profile)


def test_an_unknown_profile_demands_each() -> None:
    """A profile that nobody thought of is no demo."""
    with pytest.raises(RefusedError):
        check(without("no_core_file"), profile="staging")


@pytest.mark.parametrize(
    "measures",
    [
        pytest.param([], id="none"),
        pytest.param(without().dump()["measures"][1:], id="one left out"),
        pytest.param(without().dump()["measures"][::-1], id="another order"),
        pytest.param([*without().dump()["measures"], without().dump()["measures"][0]], id="one twice"),
        pytest.param(
            [{**each, "holds": 1} for each in without().dump()["measures"]], id="something else than true"
        ),
        pytest.param(
            [{**each, "seen": "\x1b[2J"} for each in without().dump()["measures"]], id="steers the screen"
        ),
    ],
)
def test_what_is_no_statement(measures: list[dict[str, Any]]) -> None:
    """A measure that is not mentioned would look like one that holds."""
    with pytest.raises(RefusedError) as caught:
        Isolation.load({"v": 1, "measures": measures})
    assert caught.value.code is Refusal.MALFORMED
