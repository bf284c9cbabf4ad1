"""Which pool it is: its address follows from the factory, both tokens and the fee.

Tokens, fee and tick spacing of a pool are immutables: they stand in its code, not in its storage, and no
storage proof tells them. They come from here instead:

(1) The published factory puts a pool at CREATE2(factory, keccak(token0, token1, fee), the published pool's
    init code). Who starts from tokens and fee knows the address; nothing else can stand there.
(2) The spacing of a fee is a value of the factory's storage that is written once (`layout`); it is proven.

Believed is one thing: that the factory is the published one. Another contract could create the published
pool at such an address with other tokens. That is a fact of the whitelist, as the router is. Pure.
"""

from dataclasses import dataclass
from typing import Final, Self

from eth_hash.auto import keccak

from workbench.evm.fields import HASH_BYTES, address_bytes, checksummed
from workbench.risk.errors import PoolError
from workbench.risk.pool import FEE_WHOLE

POOL_INIT_CODE_HASH: Final = bytes.fromhex("e34f199b19b2b4f47f68442619d555527d244f78a3297ea89325f843f87b8b54")


@dataclass(frozen=True, slots=True, kw_only=True)
class Venue:
    """A pool of a factory: two tokens, the smaller address first, and a fee in millionths."""

    factory: str
    token0: str
    token1: str
    fee: int

    def __post_init__(self) -> None:
        """Refuse what the factory would not have created."""
        try:
            address_bytes(self.factory)
            ordered = address_bytes(self.token0) < address_bytes(self.token1)
        except ValueError as error:
            raise PoolError(str(error)) from error
        if not ordered or not 0 <= self.fee < FEE_WHOLE:
            raise PoolError(f"a pool of {self.token0} and {self.token1} with a fee of {self.fee}")

    @classmethod
    def of(cls, factory: str, one: str, other: str, fee: int) -> Self:
        """Return the pool of two tokens in either order."""
        token0, token1 = sorted((one, other), key=str.lower)
        return cls(factory=factory, token0=token0, token1=token1, fee=fee)

    @property
    def address(self) -> str:
        """Where the pool stands (1)."""
        words = (address_bytes(self.token0), address_bytes(self.token1), self.fee.to_bytes(3))
        salt = keccak(b"".join(word.rjust(HASH_BYTES, b"\0") for word in words))
        made = keccak(b"\xff" + address_bytes(self.factory) + salt + POOL_INIT_CODE_HASH)
        return checksummed(made[12:])

    def zero_for_one(self, token_in: str) -> bool:
        """Whether selling this token moves the price down."""
        if token_in not in (self.token0, self.token1):
            raise PoolError(f"{token_in} is no token of the pool {self.address}")
        return token_in == self.token0
