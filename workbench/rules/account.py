"""A service account: a program that may propose for some keys, and a person who answers for it.

Accounts are lines of the signed policy set (`service_accounts.json`), so that to enrol one is a change of
the set: proposed, lying open, signed by two quorums. A list of them is believed when
(1) no id is a person's, another account's, or the word for the service itself: the ledger names who
    acted by id alone;
(2) no certificate and no signing key is another account's: one program must not speak as two;
(3) its owner is of the people and may propose: nobody lends out what he does not have;
(4) each key that it may propose for is one of the set's.

The certificate says who is connected; the key signs intents. They are two keys (`connected` sees to that,
a set only has the certificate's digest): whoever ends TLS before the service cannot propose with that.
Whether an authority has issued the certificate, and its own dates, are the listener's to verify. Left
out: revocation lists. A certificate counts because a set in force names it, and stops with the next set
that does not.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from typing import Annotated

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from pydantic import Field

from workbench.rules import roles as matrix
from workbench.rules.codes import Refusal, RefusedError
from workbench.rules.documents import Digest, Document, Name, Said, Time, read_time
from workbench.rules.roles import Matrix, Permission

FILE = "service_accounts.json"
ACCOUNTS_MAX = 64
"""Each is a program that somebody has to answer for; a set with more is a mistake."""
KEYS_MAX = 16
RESERVED = frozenset({"service"})
"""What the ledger calls the service itself where it acts unasked."""


class ServiceAccount(Document):
    """A program that may propose.

    `certificate` is the SHA-256 of its TLS certificate (DER), `public_key` the Ed25519 key that signs its
    intents; it may propose for the custody keys in `keys`, so often a minute, until `expires_at`.
    """

    id: Name
    purpose: Annotated[Said, Field(min_length=1)]
    owner: Name
    certificate: Digest
    public_key: Digest
    keys: Annotated[list[Name], Field(min_length=1, max_length=KEYS_MAX)]
    proposals_per_minute: Annotated[int, Field(ge=1, le=600)]
    expires_at: Time


def check(
    accounts: Collection[ServiceAccount],
    *,
    people: Mapping[str, Iterable[str]],
    roles: Matrix,
    keys: Collection[str],
) -> None:
    """Refuse a list of accounts that is not to be believed.

    Args:
        accounts: those of a policy set.
        people: the roles of each person of the set, by id.
        roles: what each role permits.
        keys: the ids of the set's custody keys.

    """
    if len(accounts) > ACCOUNTS_MAX:
        raise _invalid(f"{len(accounts)} accounts, at most {ACCOUNTS_MAX}")
    for what in ("id", "certificate", "public_key"):  # (1) (2)
        if len({getattr(each, what) for each in accounts}) != len(accounts):
            raise _invalid(f"two accounts share one {what}")
    for account in accounts:
        if account.id in people or account.id in RESERVED:  # (1)
            raise _invalid(f"{account.id} is somebody else's name")
        if Permission.PROPOSE not in matrix.held(roles, people.get(account.owner, ())):  # (3)
            raise _invalid(f"{account.id}: its owner {account.owner} may not propose")
        if len(set(account.keys)) != len(account.keys) or not set(account.keys) <= set(keys):  # (4)
            raise _invalid(f"{account.id}: an unknown or repeated key in {account.keys}")


def connected(certificate: bytes, accounts: Iterable[ServiceAccount]) -> ServiceAccount:
    """Return the account whose certificate (DER) this is, expired or not, or refuse."""
    name = hashlib.sha256(certificate).hexdigest()
    account = next((each for each in accounts if each.certificate == name), None)
    if account is None:
        raise RefusedError(Refusal.ACCOUNT_UNKNOWN, f"no account has the certificate {name[:16]}")
    if _key_of(certificate) == account.public_key:
        # the signature must be worth something where the connection is not
        raise RefusedError(Refusal.ACCOUNT_UNKNOWN, f"{account.id} signs with the key of its certificate")
    return account


def verify_in_force(account: ServiceAccount, *, now: datetime) -> None:
    """Refuse an account whose time is over."""
    if now >= read_time(account.expires_at):
        raise RefusedError(Refusal.EXPIRED, f"{account.id} has expired at {account.expires_at}")


def _key_of(certificate: bytes) -> str | None:
    """Return an Ed25519 certificate's public key; any other kind is another key than ours by that."""
    try:
        key = x509.load_der_x509_certificate(certificate).public_key()
    except ValueError as error:
        raise RefusedError(Refusal.ACCOUNT_UNKNOWN, f"no certificate: {error}") from error
    return key.public_bytes_raw().hex() if isinstance(key, Ed25519PublicKey) else None


def _invalid(detail: str) -> RefusedError:
    return RefusedError(Refusal.POLICY_INVALID, detail, path=f"/files/{FILE}")
