"""The way down from a header to an older block, as the chain's own record of its hashes proves it.

A node that keeps old states can prove any distance in steps; others can prove the last 8,191 blocks, some 27
hours. Each step is verified here before it is handed on, by the function that its readers use.
"""

from workbench.chain.errors import NodeError
from workbench.chain.node import Json, Node
from workbench.chain.state import proven_slots
from workbench.evm import history
from workbench.evm.errors import ProofError
from workbench.evm.header import Header


def descent(
    node: Node, header: Header, number: int, *, blocks_a_step: int = history.WINDOW
) -> dict[str, Json]:
    """Return the steps from a header down to a number, or raise."""
    steps: list[dict[str, Json]] = []
    while True:
        target = max(number, header.number - blocks_a_step)
        slot = history.slot_of(target)
        account, values = proven_slots(node, header, history.ADDRESS, [slot])
        _, slot_proof = values[slot]
        try:
            found = history.verify_ancestor(
                header, target, account_proof=account.proof, slot_proof=slot_proof
            )
        except ProofError as error:
            raise NodeError(str(error)) from error
        step: dict[str, Json] = {
            "number": target,
            "account_proof": [each.hex() for each in account.proof],
            "slot_proof": [each.hex() for each in slot_proof],
            "header": None,
        }
        steps.append(step)
        if target == number:
            return {"steps": steps}
        header = node.header_of(found)
        step["header"] = header.encode().hex()
