"""What the service records of a key that was made: only what all co-signers say alike."""

from __future__ import annotations

from typing import Any

import pytest

from tests.rules.build import NOW, refused
from workbench.rules.codes import Refusal
from workbench.rules.documents import write_time
from workbench.rules.key_operation import KeyOperation
from workbench.rules.threshold import SignedWord
from workbench.service.keeping import Keeping

RUN, POINT = "ab" * 32, "04" + "cd" * 64
OPERATION = KeyOperation.load(
    {
        "v": 1,
        "operation": "refresh",
        "key": "treasury",
        "epoch": 2,
        "parameters": None,
        "policy": "ef" * 32,
        "reason": "due",
        "nonce": "ab" * 16,
        "expires_at": write_time(NOW),
    }
)


def word(party: int, **changes: Any) -> SignedWord:
    """Return a party's last word; who has signed it is looked at elsewhere."""
    said = {
        "v": 1,
        "run": RUN,
        "key": "treasury",
        "epoch": 2,
        "party": party,
        "stage": "held",
        "public_key": POINT,
        "points": [POINT],
        **changes,
    }
    return SignedWord.load({"word": said, "signature": "00" * 64})


def test_all_say_the_same() -> None:
    """Then it is the key."""
    assert Keeping._agreed([word(1), word(2), word(3)], OPERATION, RUN) == POINT


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"public_key": "04" + "ee" * 64}, id="another key"),
        pytest.param({"stage": "ready"}, id="not held yet"),
        pytest.param({"epoch": 3}, id="another epoch"),
        pytest.param({"run": "ba" * 32}, id="another run"),
        pytest.param({"key": "sweep"}, id="a word of another key's"),
        pytest.param({"stage": "never", "public_key": None, "points": None}, id="never"),
    ],
)
@pytest.mark.parametrize("liar", [1, 2, 3])
def test_one_says_something_else(changes: dict[str, Any], liar: int) -> None:
    """Refused by name, whoever it is: nothing is recorded as made."""
    words = [word(party, **(changes if party == liar else {})) for party in (1, 2, 3)]
    with refused(Refusal.EQUIVOCATION):
        Keeping._agreed(words, OPERATION, RUN)
