"""Single tokens in a simulation, ERC-721 and ERC-1155: what moved, who may take what, and what that means.

(1) A move names the token by its number, from whom, to whom, and how much of it (of an ERC-721 token there is
    one). An end that nobody could tell is null; the zero address is where tokens are made and destroyed.
(2) A right names who may take one token of an owner's, or, without a number, all of a collection.
(3) No intent can declare either: limits are in dollars, a policy set has prices for amounts of an asset and
    none for a number, so a declared token would be worth nothing to every limit. What leaves one of our
    accounts, and what is given others a right to, is therefore undeclared, and counts as a finding.
(4) What only comes in, and a right that is taken away, is shown and denied by nobody.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated, Literal, Protocol, Self

from pydantic import AfterValidator, Field, model_validator

from workbench.rules.documents import Address, Amount, Document

ITEMS_MAX = 64
NOBODY = "0x" + "0" * 40
_WORD = 2**256


def _in_a_word(value: str) -> str:
    if int(value) >= _WORD:
        raise ValueError("more than 256 bits")
    return value


Number = Annotated[Amount, AfterValidator(_in_a_word)]


class Item(Document):
    """A token, or an amount of it, that went from one to another."""

    standard: Literal["erc721", "erc1155"]
    asset: Address
    id: Number
    giver: Annotated[Address | None, Field(alias="from")]
    taker: Annotated[Address | None, Field(alias="to")]
    amount: Number

    @model_validator(mode="after")
    def _moves(self) -> Self:
        if self.amount == "0" or self.giver == self.taker:
            raise ValueError("a token that does not move")
        if self.standard == "erc721" and self.amount != "1":
            raise ValueError("more than one of a token of which there is one")
        return self


class ItemRight(Document):
    """Who may take one token of an owner's, or all of a collection, or may no longer."""

    owner: Address
    spender: Address
    asset: Address
    id: Number | None
    approved: bool


Items = Annotated[list[Item], Field(max_length=ITEMS_MAX)]
ItemRights = Annotated[list[ItemRight], Field(max_length=ITEMS_MAX)]


class Told(Protocol):
    """A document that tells of single tokens."""

    @property
    def items(self) -> list[Item]:
        """What moved."""
        ...

    @property
    def rights(self) -> list[ItemRight]:
        """What others may take."""
        ...


def comes_in(item: Item, ours: Collection[str]) -> bool:
    """Whether a move brings one of our accounts something that was no account's of ours."""
    return item.taker in ours and item.giver not in ours


def undeclared(told: Told, ours: Collection[str]) -> int:
    """Return how many of these nobody can have declared (3); a move between strangers counts, too."""
    leaving = [item for item in told.items if not comes_in(item, ours)]
    return len(leaving) + sum(right.approved for right in told.rights)
