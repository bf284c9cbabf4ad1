"""What a person reads of an intent for a Safe, and of what would change it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.evm.plans import Plan, multi_send
from tests.rules.build import NOW, World, address
from tests.rules.test_keys import MULTI_SEND, SAFE, with_a_safe
from workbench.demo import charter
from workbench.evm import calldata, known
from workbench.rules import approval, safe, shown_safe
from workbench.rules.attestation import Assumed
from workbench.rules.keys import SafeKey
from workbench.rules.rows import Row, spelled

STRANGER, FORMER = address("stranger"), address("former")
ARGUMENTS = {
    "setGuard(address guard)": {"guard": STRANGER},
    "setModuleGuard(address moduleGuard)": {"moduleGuard": STRANGER},
    "setFallbackHandler(address handler)": {"handler": STRANGER},
    "enableModule(address module)": {"module": STRANGER},
    "disableModule(address prevModule, address module)": {"prevModule": FORMER, "module": STRANGER},
    "addOwnerWithThreshold(address owner, uint256 threshold)": {"owner": STRANGER, "threshold": "3"},
    "removeOwner(address prevOwner, address owner, uint256 threshold)": {
        "prevOwner": FORMER,
        "owner": STRANGER,
        "threshold": "2",
    },
    "swapOwner(address prevOwner, address oldOwner, address newOwner)": {
        "prevOwner": FORMER,
        "oldOwner": FORMER,
        "newOwner": STRANGER,
    },
    "changeThreshold(uint256 threshold)": {"threshold": "1"},
}


def rows(world: World, *, quorum: int | None = None, **fields: Any) -> list[Row]:
    """Return the rows of an intent for a Safe, with these fields."""
    asked = approval.verify(world.request("cro-1"), trust_root=world.trust_root, now=NOW)
    policy = with_a_safe(world, quorum)
    key = policy.key(charter.KEY_ID)
    assert isinstance(key, SafeKey)
    return list(shown_safe.rows(replace(asked, intent=world.approval(**fields), policy=policy, key=key)))


def said(found: list[Row], label: str) -> list[str]:
    """Return what the rows of a label say."""
    return [row.says for row in found if row.label == label]


def test_a_key_that_is_no_safe(world: World) -> None:
    """Nothing is said of it."""
    asked = approval.verify(world.request("cro-1"), trust_root=world.trust_root, now=NOW)
    assert list(shown_safe.rows(asked)) == []


def test_who_signs_and_who_pays(world: World) -> None:
    """Owners, how it runs, and the executor, by name."""
    found = rows(world)
    assert said(found, "Signed by") == ["3 of 5 owners of a Safe"]
    assert said(found, "How it runs") == ["the Safe calls the contract"]
    assert said(found, "Carried out by")[0].startswith(charter.EXECUTOR_ID)
    assert not any(row.alarm for row in found)


def test_a_batch_is_one(world: World) -> None:
    """The pinned MultiSend runs in the Safe's place, and it is said."""
    found = rows(world, to=MULTI_SEND, data=multi_send(Plan(STRANGER, b"")).hex())
    assert said(found, "How it runs")[0].startswith("a batch")


def test_on_whose_approval_the_simulation_counts(world: World) -> None:
    """Owners are named as the policy set has them."""
    asked = approval.verify(world.request("cro-1"), trust_root=world.trust_root, now=NOW)
    policy = with_a_safe(world)
    key = policy.key(charter.KEY_ID)
    assert isinstance(key, SafeKey)
    assumed = Assumed(safe=SAFE, nonce=4, owners=[key.owners[0].address, STRANGER])
    simulation = asked.simulation.model_copy(update={"assumed": assumed})
    told = replace(asked, intent=world.approval(), policy=policy, key=key, simulation=simulation)
    (row,) = [each for each in shown_safe.rows(told) if each.label == "Simulated as if"]
    assert row.says == f"approved by cosigner-1, owner of treasury, {spelled(STRANGER)}"
    assert row.remark == "the Safe's nonce 4"


@pytest.mark.parametrize("in_a_batch", [False, True])
@pytest.mark.parametrize(("text", "arguments"), ARGUMENTS.items())
def test_what_changes_the_safe(
    world: World, text: str, arguments: dict[str, str], *, in_a_batch: bool
) -> None:
    """Each change is said in words, with whom it is about, wherever it stands, and marked."""
    data = calldata.encode(known.fragment(text), arguments)
    to, sent = (MULTI_SEND, multi_send(Plan(SAFE, data))) if in_a_batch else (SAFE, data)
    found = rows(world, quorum=4, to=to, data=sent.hex())
    (row,) = [each for each in found if each.label == "CHANGES THE SAFE"]
    assert (row.alarm, row.hex, row.remark) == (True, SAFE, "4 people must approve it")
    for value in arguments.values():
        assert value == FORMER or (spelled(value) if value.startswith("0x") else value) in row.says


def test_every_change_has_its_words() -> None:
    """No critical function is left without a sentence."""
    wanted = {calldata.signature(each) for each in safe.CRITICAL.values()} | {safe.SELF_CALL}
    assert set(shown_safe.CHANGES) == wanted


def test_bytes_behind_the_arguments(world: World) -> None:
    """The contract ignores them, and so does who reads: it is named, and marked."""
    data = calldata.encode(known.fragment("changeThreshold(uint256 threshold)"), {"threshold": "1"})
    found = rows(world, to=SAFE, data=(data + b"\x01").hex())
    assert said(found, "CHANGES THE SAFE") == ["changeThreshold(uint256), with arguments that cannot be read"]
    (row,) = [each for each in found if each.label == "CHANGES THE SAFE"]
    assert row.remark.startswith("denied")


def test_a_call_to_itself(world: World) -> None:
    """Whatever it is, it is said; the cancel alone is nothing."""
    assert said(rows(world, to=SAFE, data="01020304"), "CHANGES THE SAFE") == ["the Safe calls itself"]
    assert said(rows(world, to=SAFE, data=""), "CHANGES THE SAFE") == []
