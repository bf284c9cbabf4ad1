"""What this co-signer says of its token: made by trial, once in a start, and signed (`token_report.py`)."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Any

from workbench.custody.errors import TokenError
from workbench.custody.token import Ed25519Key, Token
from workbench.rules.documents import printable, signed_bytes
from workbench.rules.token_report import (
    TOKEN_LINE,
    Check,
    KeyClaims,
    SignedTokenReport,
    TokenName,
    TokenReport,
    Trial,
)

TEXT_MAX = 200
DETAIL_MAX = 2000


@dataclass(slots=True)
class Told:
    """The report on one co-signer's token, made when it is first asked for."""

    name: str
    token: Token
    key: Ed25519Key
    _made: SignedTokenReport | None = None
    _making: threading.Lock = field(default_factory=threading.Lock)

    def answer(self) -> dict[str, Any]:
        """Answer who asks for it."""
        try:
            return {"v": 1, "token": self.report().dump()}
        except TokenError as error:
            return {"v": 1, "refused": {"code": error.code.value, "detail": error.detail[:DETAIL_MAX]}}

    def report(self) -> SignedTokenReport:
        """Return it; whoever asks while it is made waits for it."""
        with self._making:
            if self._made is None:
                report = report_of(self.name, self.token)
                signature = self.key.sign(signed_bytes(TOKEN_LINE, report.canonical()))
                self._made = SignedTokenReport(report=report, signature=signature.hex())
            return self._made


def report_of(cosigner: str, token: Token) -> TokenReport:
    """Try everything, and list every key that there is."""
    capabilities = token.capabilities()
    checks = token.self_test(capabilities)
    about = {name: _text(value) for name, value in token.about.items()}
    return TokenReport(
        v=1,
        cosigner=cosigner,
        token=TokenName.load(about),
        trials=[
            Trial(name=trial.name, listed=trial.is_listed, works=trial.works) for trial in capabilities.trials
        ],
        sealing=capabilities.sealing.value if capabilities.sealing else None,
        keys=[
            KeyClaims(
                kind=each.kind,
                id=each.id.hex(),
                label=_text(each.label),
                public_key=each.public_key.hex(),
                attributes=each.attributes,
            )
            for each in token.claims()
        ],
        checks=[Check(name=name, passed=passed) for name, passed in checks.items()],
    )


def _text(said: str) -> str:
    # a token's own words, for people to read
    return printable(said)[:TEXT_MAX]
