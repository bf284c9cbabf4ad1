"""What a simulation found that nobody should sign without knowing: what kind of thing, where, in a sentence.

Said with the contract, shown to people, and denied by the rules.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """Something that a contract did and that nobody should sign without knowing."""

    kind: str
    contract: str
    detail: str

    def document(self) -> dict[str, str]:
        """Return it as a simulation tells it."""
        return {"kind": self.kind, "contract": self.contract, "detail": self.detail}
