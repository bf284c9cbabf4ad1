"""Tokens that a test opens in its own process, one after the other."""

from __future__ import annotations

import pkcs11

from workbench.custody.token import softhsm_module


def no_token_open() -> None:
    """Have the PKCS#11 module forget its settings: a test before may have opened another token here."""
    pkcs11.lib(str(softhsm_module())).finalize()
