"""By which way signed bytes go: never to a node before its time, nor for longer than the ledger says."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.rules.carriage import (
    RELAY_BLOCKS_MAX,
    SLOT_S,
    Rule,
    Sending,
    Way,
    blocks,
    is_told,
    next_sending,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)
OURS, OLDER = "aa" * 32, "bb" * 32
PRESENT, BLOCKS = 100, 5


def relay(last_block: int, tx_hash: str = OURS) -> Sending:
    """Return a sending by the relay."""
    return Sending(tx_hash=tx_hash, by=Way.RELAY, last_block=last_block)


def nodes(tx_hash: str = OURS) -> Sending:
    """Return a sending by the nodes."""
    return Sending(tx_hash=tx_hash, by=Way.NODES, last_block=None)


BOTH = (Rule.RELAY, Rule.RELAY_THEN_NODES)


@pytest.mark.parametrize(
    ("rules", "before", "expected"),
    [
        pytest.param((Rule.NODES,), [], nodes(), id="nodes: at once"),
        pytest.param((Rule.NODES,), [nodes(OLDER)], nodes(), id="nodes: what takes others' place"),
        pytest.param((Rule.NODES,), [relay(200)], nodes(), id="nodes: a set in force that changed to it"),
        pytest.param(BOTH, [], relay(PRESENT + BLOCKS), id="the relay first"),
        pytest.param(BOTH, [relay(102)], relay(102), id="until the same block again"),
        pytest.param(BOTH, [relay(102, OLDER)], relay(102), id="what takes others' place: no longer"),
        pytest.param(BOTH, [relay(PRESENT)], relay(PRESENT), id="the last block itself is not over"),
        pytest.param((Rule.RELAY,), [relay(99)], relay(PRESENT + BLOCKS), id="relay: again when it is over"),
        pytest.param((Rule.RELAY,), [relay(50), relay(99)], relay(PRESENT + BLOCKS), id="relay: and again"),
        pytest.param(
            (Rule.RELAY,), [nodes()], relay(PRESENT + BLOCKS), id="relay: nodes had it under others"
        ),
        pytest.param((Rule.RELAY_THEN_NODES,), [relay(99)], nodes(), id="then nodes: when it is over"),
        pytest.param((Rule.RELAY_THEN_NODES,), [relay(99, OLDER)], nodes(), id="then nodes: also the newer"),
        pytest.param((Rule.RELAY_THEN_NODES,), [nodes(OLDER)], nodes(), id="then nodes: public stays public"),
        pytest.param(
            (Rule.RELAY_THEN_NODES,), [relay(99), nodes(), relay(103)], nodes(), id="then nodes: never back"
        ),
    ],
)
def test_where_it_goes(rules: tuple[Rule, ...], before: list[Sending], expected: Sending) -> None:
    """Each rule, by what was sent when."""
    for rule in rules:
        assert next_sending(rule, before, tx_hash=OURS, present=PRESENT, blocks=BLOCKS) == expected


@given(st.lists(st.builds(relay, st.integers(0, 200)), max_size=5), st.integers(0, 200), st.integers(0, 25))
def test_relay_is_never_nodes(before: list[Sending], present: int, ahead: int) -> None:
    """Under "relay" nothing that happened leads to the nodes; under the other rule only a block gone by."""
    asked = {"tx_hash": OURS, "present": present, "blocks": ahead}
    assert next_sending(Rule.RELAY, [*before, nodes()], **asked).by is Way.RELAY
    then = next_sending(Rule.RELAY_THEN_NODES, before, **asked)
    over = bool(before) and (before[-1].last_block or 0) < present
    assert (then.by is Way.NODES) == over


@pytest.mark.parametrize(
    ("sending", "goes"),
    [
        pytest.param(nodes(), True, id="nodes need no block"),
        pytest.param(relay(PRESENT + 1), True, id="a block ahead"),
        pytest.param(relay(PRESENT), False, id="the last one is here"),
        pytest.param(relay(PRESENT - 1), False, id="gone by"),
    ],
)
def test_what_still_helps(sending: Sending, *, goes: bool) -> None:
    """A relay gets nothing for a block that is mined already."""
    assert sending.goes(PRESENT) is goes


@pytest.mark.parametrize(
    ("most", "left_s", "expected"),
    [
        pytest.param(10, 3600, 10, id="the policy set's number"),
        pytest.param(1000, 36000, RELAY_BLOCKS_MAX, id="never more than relays keep"),
        pytest.param(10, 3 * SLOT_S, 3, id="the intent's end"),
        pytest.param(10, 3 * SLOT_S - 1, 2, id="a block that would come too late"),
        pytest.param(10, SLOT_S - 1, 0, id="no block is left"),
        pytest.param(10, -100, 0, id="over"),
    ],
)
def test_for_how_many_blocks(most: int, left_s: int, expected: int) -> None:
    """The least of what the set, the relay and the intent's end allow; a cancel has no end."""
    assert blocks(most, until=NOW + timedelta(seconds=left_s), latest=NOW) == expected
    assert blocks(most, until=None, latest=NOW) == min(most, RELAY_BLOCKS_MAX)


@pytest.mark.parametrize(
    ("sending", "before", "told"),
    [
        pytest.param(relay(105), [], False, id="relay: nothing yet"),
        pytest.param(relay(105), [relay(105)], True, id="relay: the same"),
        pytest.param(relay(105), [relay(104)], False, id="relay: until another block"),
        pytest.param(relay(105), [relay(105, OLDER)], False, id="relay: other bytes"),
        pytest.param(nodes(), [], False, id="nodes: nothing yet"),
        pytest.param(nodes(), [nodes()], True, id="nodes: the same"),
        pytest.param(nodes(), [nodes(OLDER)], True, id="nodes: what takes others' place has its own entry"),
        pytest.param(nodes(), [relay(99)], False, id="nodes: after the relay"),
        pytest.param(nodes(), [relay(99), nodes()], True, id="nodes: after the relay, again"),
    ],
)
def test_what_the_ledger_says_already(sending: Sending, before: list[Sending], *, told: bool) -> None:
    """Each time for the relay, and once when nodes get what it had."""
    assert is_told(sending, before) is told


@pytest.mark.parametrize("sending", [nodes(), relay(7)])
def test_an_entry_is_read_as_it_was_written(sending: Sending) -> None:
    """There and back; an entry that says no way is none."""
    assert Sending.load(sending.dump()) == sending
    with pytest.raises(KeyError):
        Sending.load({"tx_hash": OURS})
