"""What an observer signs of the rights that others have in accounts: `oms-allowances/v1`.

(1) The question names owners, tokens, a block to begin with, and spenders to look at without any event.
(2) The statement repeats the question, so that an empty list says what it is empty of.
(3) A reader demands as many observers as the trust root does. What any of them tells is told: a right that
    one has found and another has not is a right.

Left out: that the list is whole. Events are hints (`workbench.chain.allowances` says which lie hides what).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from workbench.rules.attestation import Block, Statement, Timed, verify_statements
from workbench.rules.codes import Refusal, RefusedError
from workbench.rules.documents import Address, Amount, Document, Whole
from workbench.rules.trust import TrustRoot

ALLOWANCES_LINE = "oms-allowances/v1"
GRANTS_MAX = 1040


class AllowancesQuestion(Document):
    """Whose accounts, which tokens, since when, and whom to look at anyway."""

    owners: Annotated[list[Address], Field(min_length=1, max_length=16)]
    tokens: Annotated[list[Address], Field(max_length=32)]
    since: Whole
    spenders: Annotated[list[Address], Field(max_length=64)]


class ToldGrant(Document):
    """A right, as it was proven to the observer."""

    kind: Literal["erc20", "operator", "permit2", "delegation"]
    owner: Address
    asset: Address
    spender: Address
    allowed: Amount
    balance: Amount
    granted_at_block: Whole | None
    expires_at: Whole | None


class PermitNonce(Document):
    """The number that an owner's next permit of a token must carry."""

    owner: Address
    token: Address
    nonce: Amount


class Allowances(Timed):
    """What `oms-allowances/v1` signs."""

    v: Literal[1]
    chain_id: Whole
    block: Block
    asked: AllowancesQuestion
    grants: Annotated[list[ToldGrant], Field(max_length=GRANTS_MAX)]
    permit_nonces: Annotated[list[PermitNonce], Field(max_length=512)]


def verify_allowances(
    statements: Sequence[Statement],
    *,
    question: AllowancesQuestion,
    trust_root: TrustRoot,
    now: datetime,
    age_s_max: int,
) -> list[Allowances]:
    """Verify that the observers attest, lately, what rights there are of exactly these accounts (3)."""
    told = verify_statements(
        statements, ALLOWANCES_LINE, Allowances, trust_root=trust_root, now=now, age_s_max=age_s_max
    )
    for each in told:
        if each.chain_id != trust_root.chain_id:
            raise RefusedError(Refusal.CHAIN_OTHER, f"allowances on chain {each.chain_id}")
        if each.asked != question:  # (2)
            raise RefusedError(Refusal.FACT_MISSING, "an answer to another question about allowances")
        # between two blocks they may differ for once: whoever asks again hears the same from all
        if (each.grants, each.permit_nonces) != (told[0].grants, told[0].permit_nonces):
            raise RefusedError(Refusal.SIMULATION_OTHER, "observers attest different rights; ask again")
    return told
