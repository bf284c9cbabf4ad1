"""What a co-signer's token is and can do, as that co-signer says under its identity key.

It is made by trial at each start of the co-signer: what the token lists and what works, how it seals, every
key in it with what the token claims of that key, and the attempts to take a key out. A report without a
moment in it: the same token says the same, so it stands in the ledger once, and again when something changes.

It is a claim, of the token and of the co-signer: software that lies says all of this too. It shows an honest
desk what it runs on, and an auditor what was said of each key from when on.
"""

from __future__ import annotations

import hashlib
from typing import Annotated, Literal

from pydantic import Field

from workbench.rules.codes import Refusal, RefusedError
from workbench.rules.documents import Digest, Document, Hex, Name, signed_bytes, verify_ed25519
from workbench.rules.trust import TrustRoot

TOKEN_LINE = "oms-token/v1"  # noqa: S105 - a domain line
Text = Annotated[str, Field(max_length=200)]


class TokenName(Document):
    """What the token says it is."""

    manufacturer: Text
    model: Text
    serial: Text
    label: Text
    firmware: Text


class Trial(Document):
    """One thing that a token may be able to do; only what works counts."""

    name: Name
    listed: bool
    works: bool


class Check(Document):
    """One step of the self-test, or one way to take a key out, which must fail."""

    name: Name
    passed: bool


class KeyClaims(Document):
    """What the token claims of one key; null where it says nothing."""

    kind: Name
    id: Annotated[Hex, Field(max_length=128)]
    label: Text
    public_key: Annotated[Hex, Field(max_length=2048)]
    attributes: Annotated[dict[str, bool | None], Field(max_length=32)]


class TokenReport(Document):
    """One co-signer's token."""

    v: Literal[1]
    cosigner: Name
    token: TokenName
    trials: Annotated[list[Trial], Field(min_length=1, max_length=32)]
    sealing: Name | None
    keys: Annotated[list[KeyClaims], Field(max_length=256)]
    checks: Annotated[list[Check], Field(min_length=1, max_length=32)]

    @property
    def digest(self) -> str:
        """Return what names this state of this token."""
        return hashlib.sha256(signed_bytes(TOKEN_LINE, self.canonical())).hexdigest()

    @property
    def failed(self) -> list[str]:
        """Name the checks that did not pass."""
        return [check.name for check in self.checks if not check.passed]


class SignedTokenReport(Document):
    """A report under its co-signer's identity key."""

    report: TokenReport
    signature: Annotated[Hex, Field(min_length=128, max_length=128)]

    def verify(self, cosigner: str, trust_root: TrustRoot) -> TokenReport:
        """Return the report if it is this co-signer's own."""
        key: Digest | None = trust_root.cosigners.get(cosigner)
        if key is None or self.report.cosigner != cosigner:
            raise RefusedError(Refusal.MALFORMED, f"a report of {self.report.cosigner}", path="/cosigner")
        verify_ed25519(key, self.signature, TOKEN_LINE, self.report.canonical(), what="token report")
        return self.report
