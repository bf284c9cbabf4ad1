"""An order on its way from officer to officer: a file, with the policy sets that say who they are.

Each officer reads it at his own machine, which verifies it under its own trust root, and adds his signature.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from workbench.rules import key_operation, officers
from workbench.rules.codes import Refusal, RefusedError
from workbench.rules.documents import Document
from workbench.rules.key_operation import KeyOperation, SignedOperation
from workbench.rules.pause import Release, SignedRelease
from workbench.rules.policy import SETS_MAX, Person, PolicySet, Signature, verify_chain
from workbench.rules.trust import TrustRoot


class OrderRequest(Document):
    """What is asked of officers, as far as it is signed."""

    v: Literal[1]
    release: SignedRelease | None
    key: SignedOperation | None
    policy_chain: Annotated[list[dict[str, Any]], Field(min_length=1, max_length=SETS_MAX)]

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.release is None) == (self.key is None):
            raise ValueError("one order is asked for")
        return self

    @property
    def order(self) -> Release | KeyOperation:
        """What is to be signed."""
        if self.release is not None:
            return self.release.release
        if self.key is not None:
            return self.key.operation
        raise ValueError("one order is asked for")

    @property
    def signatures(self) -> Sequence[Signature]:
        """Who has signed it so far."""
        signed = self.release or self.key
        return signed.signatures if signed else []

    def signed(self, signature: Signature) -> OrderRequest:
        """Return it with one more signature."""
        kind = "release" if self.release is not None else "key"
        whole = self.dump()
        whole[kind]["signatures"].append(signature.dump())
        return OrderRequest.load(whole)


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedOrder:
    """A verified request: what is ordered, under which set, who looks at it, and whose signatures count."""

    order: Release | KeyOperation
    policy: PolicySet
    person: Person
    signers: Mapping[str, str]


def verify(request: OrderRequest, *, person: str, trust_root: TrustRoot, now: datetime) -> AskedOrder:
    """Verify that an order is one that this officer could sign now, whoever brings it."""
    sets = [PolicySet.load(value, at="/policy_chain") for value in request.policy_chain]
    policy = verify_chain(sets, trust_root=trust_root, now=now)
    order = request.order
    if order.policy != policy.digest:
        raise RefusedError(Refusal.DECISION_OTHER_POLICY, "drafted under another policy set")
    officers.verify_dated(order, policy=policy, now=now)
    if isinstance(order, KeyOperation):
        # nobody is asked to press a key for what every co-signer would refuse
        key_operation.verify_allowed(order, policy=policy, trust_root=trust_root)
    asked = policy.person(person)
    role = policy.limits.policy_quorum_role
    if role not in asked.roles:
        raise RefusedError(Refusal.ROLE_NOT_HELD, f"{person} does not hold {role}")
    signers = officers.signers(order, request.signatures, policy=policy, trust_root=trust_root)
    return AskedOrder(order=order, policy=policy, person=asked, signers=signers)
