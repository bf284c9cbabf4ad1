"""What a person reads of an intent for a Safe: who signs, how it runs, who pays, and what of it is critical.

(1) The calls themselves are `shown_calls`'s, as for any intent; here stands what is peculiar to a Safe.
(2) What would change who may move its funds is said in words, each change in a row of its own and marked,
    wherever in the tree it stands; one whose arguments cannot be read is named by its function alone.
(3) The simulation was run before any owner has signed: on whose approval it counted is said.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from workbench.evm.tree import Node
from workbench.rules import calls, execution, safe
from workbench.rules.approval import Asked
from workbench.rules.keys import SafeKey
from workbench.rules.rows import Row, named, spelled

CHANGES: Final[Mapping[str, str]] = {
    "setGuard(address)": "asks {guard} before each transaction from now on",
    "setModuleGuard(address)": "asks {moduleGuard} before each transaction of a module from now on",
    "setFallbackHandler(address)": "lets {handler} answer what the Safe does not know",
    "enableModule(address)": "lets {module} move everything without any owner",
    "disableModule(address,address)": "lets {module} move nothing any more",
    "addOwnerWithThreshold(address,uint256)": "makes {owner} an owner; {threshold} sign together",
    "removeOwner(address,address,uint256)": "{owner} is no owner any more; {threshold} sign together",
    "swapOwner(address,address,address)": "{newOwner} becomes an owner in the place of {oldOwner}",
    "changeThreshold(uint256)": "{threshold} owners sign together from now on",
    safe.SELF_CALL: "the Safe calls itself",
}
"""What each critical function does, by its signature, in the words of its arguments."""


def rows(asked: Asked) -> Iterator[Row]:
    """Return the rows; none for a key that is no Safe."""
    key = asked.key
    if not isinstance(key, SafeKey):
        return
    yield Row(
        label="Signed by",
        says=f"{key.threshold} of {len(key.owners)} owners of a Safe",
        remark="each owner's co-signer judges by itself",
    )
    in_its_place = asked.intent.to == key.pins.multi_send
    batch = "a batch: the pinned MultiSend runs in the Safe's place, and calls what stands below"
    yield Row(label="How it runs", says=batch if in_its_place else "the Safe calls the contract")
    executor = asked.policy.sender(key.id)
    yield Row(
        label="Carried out by",
        says=f"{executor.id}: {executor.purpose}",
        hex=executor.address,
        remark="pays the gas, and can carry out nothing but what owners have signed",
    )
    yield from _critical(asked, key)
    assumed = asked.simulation.assumed
    if assumed is not None:  # (3)
        who = ", ".join(named(asked, each) or spelled(each) for each in assumed.owners)
        yield Row(
            label="Simulated as if", says=f"approved by {who}", remark=f"the Safe's nonce {assumed.nonce}"
        )


def _critical(asked: Asked, key: SafeKey) -> Iterator[Row]:
    """(2) Return a row for each change of the Safe."""
    what = execution.proposed(asked.intent, key, nonce=asked.nonce)
    root = safe.read(what, pinned=key.pinned(asked.intent.chain_id), abis=calls.abis(asked.policy))
    quorum = key.pins.critical_quorum
    wants = "denied: the pins have no quorum for it" if quorum is None else f"{quorum} people must approve it"
    for node in () if safe.cancels(what) else root.walk():
        for name in safe.critical_of(node, key.address):
            yield Row(
                label="CHANGES THE SAFE",
                says=_words(asked, name, node),
                hex=node.to,
                remark=wants,
                alarm=True,
            )


def _words(asked: Asked, name: str, node: Node) -> str:
    said = CHANGES[name]
    if name == safe.SELF_CALL:
        return said
    if node.call is None:
        return f"{name}, with arguments that cannot be read"
    values = {each: _written(asked, value) for each, value in node.call.arguments.items()}
    return said.format(**values)


def _written(asked: Asked, value: str) -> str:
    if not value.startswith("0x"):
        return value
    return named(asked, value) or spelled(value)
