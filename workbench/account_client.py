"""The service's TLS listener as typed calls: what a service account's program speaks.

It holds two keys, which are two on purpose: its certificate's opens connections, the other signs intents.
It proposes and reads what it proposed itself; everything else is not there for it.
"""

from __future__ import annotations

import ssl
from contextlib import closing
from dataclasses import dataclass
from http.client import HTTPException, HTTPSConnection
from pathlib import Path
from typing import Any, Literal, Self

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from workbench.client import ANSWER_MAX, TIMEOUT_S, IntentView, ServiceUnavailableError, answered
from workbench.rules.documents import signed_bytes
from workbench.rules.intent import ACCOUNT_LINE, Intent, Proposal


@dataclass(frozen=True, slots=True)
class AccountClient:
    """Where the listener is, what is believed of it, what is shown to it, and the key that signs intents."""

    address: str
    port: int
    tls: ssl.SSLContext
    key: Ed25519PrivateKey

    @classmethod
    def of(
        cls,
        *,
        address: str,
        port: int,
        server_ca: Path,
        certificate: Path,
        certificate_key: Path,
        key: Ed25519PrivateKey,
    ) -> Self:
        """Read the files: PEM, the certificate's key unencrypted.

        Args:
            address: a name or an IP address that the listener's certificate is for.
            port: where it listens.
            server_ca: who must have issued the listener's certificate.
            certificate: the account's certificate, whose digest the policy set names.
            certificate_key: the certificate's key, which signs no intents.
            key: the account's signing key, whose public half the policy set names.

        """
        tls = ssl.create_default_context(cafile=str(server_ca))
        tls.minimum_version = ssl.TLSVersion.TLSv1_3
        tls.load_cert_chain(certificate, certificate_key)
        return cls(address, port, tls, key)

    def proposal(self, intent: Intent) -> Proposal:
        """Sign an intent with the account's key."""
        signature = self.key.sign(signed_bytes(ACCOUNT_LINE, intent.canonical()))
        return Proposal(intent=intent, signature=signature.hex())

    def propose(self, intent: Intent) -> IntentView:
        """(1) Propose; the same intent again is the same proposal."""
        return IntentView.load(self.request("POST", "/v1/intents", self.proposal(intent).canonical()))

    def intents(self) -> list[tuple[str, str]]:
        """Return (digest, state) of every intent of this account, oldest first."""
        return [(each["digest"], each["state"]) for each in self.request("GET", "/v1/intents")["intents"]]

    def intent(self, digest: str) -> IntentView:
        """Return one intent of this account."""
        return IntentView.load(self.request("GET", f"/v1/intents/{digest}"))

    def request(
        self, method: Literal["GET", "POST", "DELETE"], path: str, body: bytes = b""
    ) -> dict[str, Any]:
        """Make one request, on a connection of its own."""
        with closing(
            HTTPSConnection(self.address, self.port, timeout=TIMEOUT_S, context=self.tls)
        ) as connection:
            try:
                connection.request(method, path, body)
                response = connection.getresponse()
                content = response.read(ANSWER_MAX + 1)
            except (OSError, HTTPException) as error:
                # what TLS refuses is an OSError, too: often only seen with the first answer
                raise ServiceUnavailableError(f"{self.address}:{self.port}: {error}") from error
        return answered(response.status, content)
