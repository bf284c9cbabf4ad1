"""One name for what a transaction does, whoever sends it under whichever nonce.

Whoever simulates a call states this name, computed from what was really run; whoever relies
on the simulation computes it again from what is to be signed. A label that the courier
chose could put a harmless call's outcome beside a harmful one. The fees are part of it: a contract reads the
gas price, too.
"""

import hashlib

from ledger.encoding import canonical


def call_digest(
    *,
    sender: str,
    to: str,
    value: int,
    data: bytes,
    gas: int,
    max_fee_per_gas: int,
    max_priority_fee_per_gas: int,
) -> str:
    """Return SHA-256, in hex, over sender, target, value and fees (wei), calldata and gas limit."""
    document = {
        "from": sender,
        "to": to,
        "value": str(value),
        "data": data.hex(),
        "gas": gas,
        "max_fee_per_gas": max_fee_per_gas,
        "max_priority_fee_per_gas": max_priority_fee_per_gas,
    }
    return hashlib.sha256(canonical(document)).hexdigest()
