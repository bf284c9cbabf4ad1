"""Tokens that a test opens in its own process, one after the other."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pkcs11

from workbench.custody.attempts import Attempts
from workbench.custody.config import softhsm, softhsm_module
from workbench.custody.token import Token


def no_token_open() -> None:
    """Have the PKCS#11 module forget its settings: a test before may have opened another token here."""
    pkcs11.lib(str(softhsm_module())).finalize()


def open_softhsm(folder: Path, label: str, pin: str) -> Token:
    """Open the SoftHSM token that lies in a state root."""
    tries = Attempts(folder, lambda: datetime.now(UTC))
    return Token(softhsm(folder, label=label), pin=pin, tries=tries)
