"""An answer is a signature or a refusal, never both and never neither."""

from __future__ import annotations

from typing import Any

import pytest

from workbench.rules.codes import Refusal, RefusedError
from workbench.rules.evidence import Answer

SIGNED: dict[str, Any] = {
    "v": 1,
    "cosigner": "cosigner-1",
    "evidence": "ab" * 32,
    "intent": "cd" * 32,
    "signature": "00" * 65,
    "raw_tx": "02",
    "refused": None,
    "signed_before": None,
    "others": [],
}
NO = {"step": 4, "code": "rejected", "detail": "no"}
REFUSED = {**SIGNED, "signature": None, "raw_tx": None, "refused": NO}


@pytest.mark.parametrize(
    "answer", [SIGNED, REFUSED, {**REFUSED, "signed_before": "02"}, {**SIGNED, "others": ["ab" * 32]}]
)
def test_answers(answer: dict[str, Any]) -> None:
    """A signature, a refusal, a refusal that says what was signed earlier, a signature beside others."""
    assert Answer.load(answer).dump() == answer


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"signature": None, "raw_tx": None}, id="neither"),
        pytest.param({"refused": NO}, id="both"),
        pytest.param({"raw_tx": None}, id="a signature over nothing"),
        pytest.param({"signature": None}, id="bytes without a signature"),
        pytest.param({"signed_before": "02"}, id="signed twice"),
        pytest.param({"signature": None, "raw_tx": None, "signed_before": "02"}, id="only what was before"),
        pytest.param({"others": ["ab" * 32] * 33}, id="more bytes than one nonce can have"),
    ],
)
def test_what_is_no_answer(changes: dict[str, Any]) -> None:
    """What says neither, or both, ends nothing."""
    with pytest.raises(RefusedError) as caught:
        Answer.load({**SIGNED, **changes})
    assert caught.value.code is Refusal.MALFORMED
