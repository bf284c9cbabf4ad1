"""Tokens that a test opens in its own process, one after the other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pkcs11

from workbench.custody.attempts import Attempts
from workbench.custody.config import softhsm, softhsm_module
from workbench.custody.token import Token, create_softhsm


def no_token_open() -> None:
    """Have the PKCS#11 module forget its settings: a test before may have opened another token here."""
    pkcs11.lib(str(softhsm_module())).finalize()


def open_softhsm(folder: Path, label: str, pin: str) -> Token:
    """Open the SoftHSM token that lies in a state root."""
    tries = Attempts(folder, lambda: datetime.now(UTC))
    return Token(softhsm(folder, label=label), pin=pin, tries=tries)


@contextmanager
def token_here(folder: Path, label: str) -> Iterator[Token]:
    """Make a token and open it in this process, until the block ends."""
    create_softhsm(folder, label=label, pin="1234", so_pin="123456")
    no_token_open()
    opened = open_softhsm(folder, label, "1234")
    try:
        yield opened
    finally:
        opened.close()
