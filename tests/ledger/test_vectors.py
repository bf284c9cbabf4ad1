"""The vectors, as any other verifier would run them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import ledger
from ledger import checkpoint, merkle, timestamp
from ledger.bundle import Line
from ledger.checkpoint import Checkpoint
from ledger.clock import text
from ledger.encoding import parse
from ledger.entry import Entry
from ledger.trust import TrustRoot
from tests.ledger.world import trust_root

FOLDER = Path(ledger.__file__).parent / "vectors"
FILES = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(FOLDER.glob("*.json"))}


def cases(name: str) -> pytest.MarkDecorator:
    """Run a test once for each case of a file."""
    return pytest.mark.parametrize(
        "case", [pytest.param(case, id=case["comment"]) for case in FILES[name]["cases"]]
    )


def expect(case: dict[str, Any], attempt: Callable[[], object]) -> None:
    """Run an attempt that the case expects to be refused or not."""
    if case["expect"] == "refused":
        with pytest.raises(ValueError, match=r".+"):
            attempt()
    else:
        attempt()


@cases("encoding")
def test_encoding(case: dict[str, Any]) -> None:
    """Bytes are canonical or refused."""
    expect(case, lambda: parse(bytes.fromhex(case["hex"])))


@cases("chain")
def test_chain(case: dict[str, Any]) -> None:
    """A line follows the h before it or is refused."""

    def follow() -> None:
        line = Line.parse(case["line"].encode() + b"\n")
        entry = Entry.read(line.head, data=line.data, salt=line.salt, prev=bytes.fromhex(case["prev"]))
        if (entry.seq, entry.h) != (line.seq, line.h) or entry.data is None:
            raise ValueError("number, h or data")
        assert (entry.leaf.hex(), entry.h.hex()) == (case["leaf"], case["h"])

    expect(case, follow)


@cases("merkle")
def test_merkle(case: dict[str, Any]) -> None:
    """A proof holds or is refused."""
    proof = [bytes.fromhex(node) for node in case["proof"]]

    def verify() -> None:
        if case["kind"] == "inclusion":
            leaf, root = bytes.fromhex(case["leaf"]), bytes.fromhex(case["root"])
            merkle.verify_inclusion(leaf, case["index"], case["size"], proof, root)
        else:
            roots = bytes.fromhex(case["root1"]), bytes.fromhex(case["root2"])
            merkle.verify_consistency(case["size1"], case["size2"], *roots, proof)

    expect(case, verify)


@cases("checkpoint")
def test_checkpoint(case: dict[str, Any]) -> None:
    """A note counts under the keys of the file or is refused."""
    keys, witnesses = (
        {name: bytes.fromhex(key) for name, key in FILES["checkpoint"][field].items()}
        for field in ("checkpoint_keys", "witnesses")
    )
    expect(case, lambda: checkpoint.verify(case["note"], keys, case["quorum"], witnesses=witnesses))


@cases("timestamp")
def test_timestamp(case: dict[str, Any]) -> None:
    """An answer stamps the text of the file's checkpoint or is refused, today and in a hundred years."""
    document = FILES["timestamp"]
    trust = TrustRoot.of(trust_root(timestamp=document["timestamp"]))
    state = Checkpoint.parse(document["text"])

    def stamp() -> None:
        raw, authority = bytes.fromhex(case["response"]), case["authority"]
        found = timestamp.verify(raw, trust.authorities, authority=authority, checkpoint=state)
        assert (text(found.time), f"{found.serial:#x}") == (case["time"], case["serial"])

    expect(case, stamp)


@pytest.mark.parametrize("name", sorted(FILES))
def test_more_refused_than_accepted(name: str) -> None:
    """Every file says more about what is refused than about what is accepted."""
    refused = [case["expect"] == "refused" for case in FILES[name]["cases"]]
    assert sum(refused) > len(refused) / 2
