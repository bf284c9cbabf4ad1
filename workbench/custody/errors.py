"""What is wrong with a token, by the code that crosses boundaries."""

from __future__ import annotations

from workbench.rules.codes import Refusal


class TokenError(Exception):
    """The token, a key in it, or what it claims of the key is not as it must be."""

    def __init__(self, code: Refusal, detail: str) -> None:
        super().__init__(f"{code.value}: {detail}")
        self.code = code
        self.detail = detail
