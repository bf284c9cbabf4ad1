"""Threshold ECDSA over secp256k1: opaque shares and runs that take one step a round.

The engine is the Rust crate `dkls23-secp256k1`; nobody has audited it from outside.
"""

from ._native import AbortError, BanError, Run, Share, Step, TssError

__all__ = ["AbortError", "BanError", "Run", "Share", "Step", "TssError"]
