"""The trust root: what could be satisfied by one liar, or by nobody, cannot be built."""

from typing import Any

import pytest

from tests.ledger.authority import holder
from tests.rules.build import World, digest_of, public, refused
from workbench.rules.codes import Refusal
from workbench.rules.trust import UNSAFE_AAGUID, VIRTUAL_AAGUID, TrustRoot

HTTPS: dict[str, Any] = {
    "login": {"id": "login.example.org", "origin": "https://login.example.org"},
    "approval": {"id": "approve.example.org", "origin": "https://approve.example.org"},
}
PRODUCTION: dict[str, Any] = {
    "profile": "production",
    "aaguids": ["0f" * 16],
    "observers": {"observer": public("observer"), "observer-2": public("observer-2")},
    "observer_quorum": 2,
    "node_quorum": 2,
    "watcher": public("watcher"),
    "witnesses": {
        "cosigner-1": public("cosigner"),
        "watcher": public("watcher"),
        **{f"auditor-{number}": public(f"auditor-{number}") for number in range(5)},
    },
    "witness_quorum": 5,
    **HTTPS,
}
REDACTION = {
    "keys": {"officer-1": public("officer-1"), "officer-2": public("officer-2")},
    "quorum": 2,
    "types": {"external.note": 30},
}
ANCHOR = {"chain_id": 1, "contract": "11" * 20, "sender": "22" * 20}
CLOCK = {"clock-1": {"roots": [holder("root of time", ca=True).der.hex()], "policy": "1.3.6.1.4.1.99999.1"}}


def test_a_demo_root_is_believable(world: World) -> None:
    """The demo world's own root can be built, and its digest covers every byte of it."""
    again = TrustRoot.read(world.trust_root.canonical())
    assert again == world.trust_root
    assert again.digest != world.root(chain_id=1).digest


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"v": 2}, id="another version"),
        pytest.param({"profile": "staging"}, id="another profile"),
        pytest.param({"checkpoint_keys": {}}, id="no checkpoint key"),
        pytest.param({"cosigners": {}}, id="no co-signer"),
        pytest.param({"aaguids": []}, id="no authenticator"),
        pytest.param({"observers": {}}, id="no observer"),
        pytest.param({"observer_quorum": 0}, id="a quorum of no observers"),
        pytest.param({"observer_quorum": 2}, id="more observers than there are"),
        pytest.param({"node_quorum": 0}, id="a quorum of no nodes"),
        pytest.param({"witness_quorum": 1}, id="more witnesses than there are"),
        pytest.param({"witness_quorum": -1}, id="a negative quorum"),
        pytest.param({"observers": {"observer": public("service")}}, id="an observer with the service's key"),
        pytest.param({"watcher": public("cosigner")}, id="a watcher with a co-signer's key"),
        pytest.param({"cosigners": {"a": public("x"), "b": public("x")}}, id="two co-signers over one key"),
        pytest.param({"witnesses": {"w": public("observer")}}, id="a witness with an observer's key"),
        pytest.param({"witnesses": {"service": public("w")}}, id="a name that is checkpoint key and witness"),
        pytest.param({"origin": "two words"}, id="an origin that no checkpoint can carry"),
        pytest.param({"origin": ""}, id="no origin"),
        pytest.param({"genesis_policy": "0" * 63}, id="half a digest"),
        pytest.param(
            {"login": {"id": "approve.localhost", "origin": "http://x.localhost"}}, id="one RP id for both"
        ),
        pytest.param(
            {"login": {"id": "x.localhost", "origin": "http://approve.localhost:8443"}},
            id="one origin for both",
        ),
        pytest.param(
            {"login": {"id": "x", "origin": "javascript:alert"}}, id="an origin that is no web origin"
        ),
        pytest.param({"login": {"id": "x", "origin": "https://x/path"}}, id="an origin with a path"),
        pytest.param({"login": {"id": "x", "origin": "https://x\n"}}, id="an origin with a line feed"),
        pytest.param({"login": {"id": "x", "origin": "https://X"}}, id="an origin in capitals"),
        pytest.param({"watchers": []}, id="an unknown field"),
        pytest.param({"witnesses": {"w": public("cosigner")}}, id="a co-signer's key under another name"),
        pytest.param({"redaction": {**REDACTION, "quorum": 1}}, id="one person may redact"),
        pytest.param({"redaction": {**REDACTION, "types": {"policy.adopted": 30}}}, id="redactable policies"),
        pytest.param(
            {"redaction": {**REDACTION, "types": {"decision.recorded": 0}}}, id="redactable decisions"
        ),
        pytest.param({"redaction": {**REDACTION, "types": {"ledger.hold": 0}}}, id="redactable holds"),
        pytest.param({"redaction": {**REDACTION, "types": {"new.kind": 30}}}, id="a kind nobody thought of"),
        pytest.param({"anchor": {**ANCHOR, "contract": "0x" + "11" * 20}}, id="a contract with a prefix"),
        pytest.param({"anchor": {**ANCHOR, "chain_id": 0}}, id="no anchor chain"),
        pytest.param({"timestamp": {}}, id="no authority"),
        pytest.param({"timestamp": {"clock-1": {"roots": ["00"]}}}, id="an authority whose root is none"),
        pytest.param({"timestamp": {"clock.1": CLOCK["clock-1"]}}, id="an authority that no file can name"),
        pytest.param(
            {"timestamp": {"clock-1": {**CLOCK["clock-1"], "url": ""}}}, id="an authority's address"
        ),
        pytest.param({"timestamp": {"clock-1": {**CLOCK["clock-1"], "policy": None}}}, id="a policy of null"),
    ],
)
def test_an_unbelievable_root(world: World, changes: dict[str, Any]) -> None:
    """Each of these would let one count twice, or nobody at all suffice."""
    with refused(Refusal.MALFORMED):
        world.root(**changes)


def test_redaction_anchors_and_time_stamps(world: World) -> None:
    """All may be named, and are then part of what the digest covers."""
    root = world.root(redaction=REDACTION, anchor=ANCHOR, timestamp=CLOCK)
    assert TrustRoot.read(root.canonical()) == root
    assert root.digest != world.trust_root.digest


def test_a_production_root_is_believable(world: World) -> None:
    """What production demands can be met."""
    assert world.root(**PRODUCTION).profile == "production"


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"aaguids": [UNSAFE_AAGUID]}, id="the software authenticator"),
        pytest.param({"aaguids": ["0f" * 16, UNSAFE_AAGUID]}, id="the software authenticator among others"),
        pytest.param({"aaguids": [VIRTUAL_AAGUID]}, id="a browser's virtual authenticator"),
        pytest.param({"observer_quorum": 1}, id="one observer suffices"),
        pytest.param({"node_quorum": 1}, id="one node suffices"),
        pytest.param({"watcher": None}, id="no watcher"),
        pytest.param({"witness_quorum": 0}, id="no witness"),
        pytest.param({"witness_quorum": 4}, id="two quorums that share no more than the liars"),
        pytest.param(
            {"login": {"id": "login.example.org", "origin": "http://login.example.org"}},
            id="a login without TLS",
        ),
        pytest.param(
            {"approval": {"id": "approve.example.org", "origin": "http://approve.example.org"}},
            id="an approval without TLS",
        ),
    ],
)
def test_what_production_refuses(world: World, changes: dict[str, Any]) -> None:
    """A production root admits nothing of the demo world; the demo profile may."""
    with refused(Refusal.MALFORMED):
        world.root(**{**PRODUCTION, **changes})
    assert world.root(**{**PRODUCTION, **changes, "profile": "demo"}).profile == "demo"


def test_the_digest_is_that_of_the_ledgers_genesis(world: World) -> None:
    """The ledger and the rules read one document and name it alike."""
    from_ledger = world.trust_root.canonical()
    assert TrustRoot.read(from_ledger).digest == world.trust_root.digest
    assert world.trust_root.digest != digest_of("")
