"""A co-signer's part in operations on whole keys: it makes one in its token, or destroys one.

(1) A key that an operation makes is found again by its label, which names the operation: a crash between the
    token and the disk leaves no second one.
(2) What is to end is on disk before it is gone, so that the same operation is told the same afterwards.
(3) Only transaction keys end like this. A key that the policy set in force lists under any name does not
    (`operations` leaves those out), and no identity, and no sealing key, ever does.
"""

from __future__ import annotations

from dataclasses import dataclass

from workbench.cosigner.deeds import Deed, Deeds
from workbench.cosigner.operations import Allowed
from workbench.custody.errors import TokenError
from workbench.custody.token import Token
from workbench.process.crash import CrashPoint
from workbench.rules.codes import Refusal, RefusedError
from workbench.rules.key_operation import Succession


@dataclass(frozen=True, slots=True)
class WholeWork:
    """Operations on the whole keys of one token."""

    token: Token
    deeds: Deeds
    crash: CrashPoint

    def succeed(self, allowed: Allowed) -> tuple[str, dict[str, bool | None]]:
        """(1) Make the key that takes another's place; return it and what the token claims of it."""
        operation = allowed.operation
        if not isinstance(operation.parameters, Succession):
            raise RefusedError(Refusal.MALFORMED, "no successor is named")
        label = f"{operation.parameters.successor}/1 {operation.digest[:16]}"
        try:
            deed = self.deeds.of(operation.digest)
            if deed is not None and deed.made is not None:
                made = bytes.fromhex(deed.made)
            else:
                there = self.token.labelled(label)
                made = there[0] if there else self.token.generate_secp256k1(label).public_key
                # whatever lies there under the label: a key that came from outside is refused
                self.token.secp256k1(made)
                self.crash.reached("key-generated")
                self.deeds.keep(
                    Deed(v=1, order=operation.digest, key=operation.key, made=made.hex(), ends=[])
                )
            return made.hex(), self.token.attributes(made)
        except TokenError as error:
            raise RefusedError(error.code, error.detail) from error

    def end(self, allowed: Allowed) -> list[str]:
        """(2) (3) Destroy what the operation ends; return everything that it ever ended here."""
        operation = allowed.operation
        deed = self.deeds.of(operation.digest)
        ends = sorted({*allowed.whole, *(deed.ends if deed else [])})
        if not ends:
            return []
        self.deeds.keep(Deed(v=1, order=operation.digest, key=operation.key, made=None, ends=ends))
        self.crash.reached("key-ending")
        try:
            for public_key in ends:
                self.token.destroy_secp256k1(bytes.fromhex(public_key))
        except TokenError as error:
            raise RefusedError(error.code, error.detail) from error
        return ends
