"""The trust root: whose signatures a verifier believes. Handed over by hand, never read from a bundle.

The document may say more than the ledger reads (other processes have their own
fields in it), so unknown fields are left alone; its digest covers all of them
and stands in the genesis. What is read here is read strictly:

* `ledger_id` and `origin` name the ledger; `checkpoint_keys` {name: hex} has at
  least one key; `witnesses` {name: hex} may be empty.
* `witness_quorum` lies between 0 and the number of witnesses: a quorum that
  nobody can reach would otherwise only show when the first checkpoint fails.
* No key stands twice, nor any name: one holder would count twice.
* `redaction` {keys, quorum, types} may be absent: then nothing is ever redacted.
  `types` {type: days} lists what may be redacted at all, and how long it is kept.
* `anchor` {chain_id, contract, sender} may be absent: then no anchor proves anything.
* `timestamp` {name: {roots, policy}} may be absent: then no time-stamp proves anything.
  `roots` are self-signed CA certificates (DER in hex), `policy` an OID or left out.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.utils import CryptographyDeprecationWarning

from ledger.checkpoint import NAME, Checkpoint, CheckpointError, verify
from ledger.encoding import JSON, EncodingError, canonical, parse, unhex

LIMIT = 4 * 1024 * 1024  # bytes; the document of a large committee is below 100 KiB
QUORUM_MIN = 2  # of redaction keys
ADDRESS = 20  # bytes of an EVM address
ROOTS_MAX = 8  # of one time-stamp authority; each is tried in every verification
AUTHORITY = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")  # part of a file's name in a bundle, so without a dot
UNREADABLE = (
    ValueError,
    TypeError,
    InvalidSignature,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.ExtensionNotFound,
    x509.InvalidVersion,
    CryptographyDeprecationWarning,
)
"""What the library raises at bytes that are no certificate, or not such a one (a warning: not for long)."""


class TrustRootError(ValueError):
    """A trust root document is malformed: nothing can be believed under it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Redaction:
    """Who may have payloads taken away, and of which types, after how many days."""

    keys: Mapping[str, bytes]
    quorum: int
    days: Mapping[str, int]

    def __post_init__(self) -> None:
        if len(set(self.keys.values())) != len(self.keys):
            raise TrustRootError("a redaction key stands twice")
        # One person alone must not be able to take data away.
        if not QUORUM_MIN <= self.quorum <= len(self.keys):
            raise TrustRootError(f"redaction quorum {self.quorum} of {len(self.keys)}")
        if any(type(days) is not int or days < 0 for days in self.days.values()):
            raise TrustRootError("a redactable type needs the days that it is kept")


@dataclass(frozen=True, slots=True, kw_only=True)
class Anchoring:
    """Where roots are anchored: the contract's and the sender's address on one EVM chain."""

    chain_id: int
    contract: bytes
    sender: bytes

    def __post_init__(self) -> None:
        if type(self.chain_id) is not int or self.chain_id < 1:
            raise TrustRootError("the chain of the anchors is not a positive integer")


@dataclass(frozen=True, slots=True, kw_only=True)
class Authority:
    """A time-stamp authority: where its certificates lead, and the only policy that it may stamp under."""

    roots: tuple[bytes, ...]
    policy: str | None

    def __post_init__(self) -> None:
        if not 1 <= len(set(self.roots)) == len(self.roots) <= ROOTS_MAX:
            raise TrustRootError(f"a time-stamp authority needs 1 to {ROOTS_MAX} different roots")
        if self.policy is not None:
            _check_policy(self.policy)
        for root in self.roots:
            _check_root(root)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustRoot:
    """The part of the trust root document that the ledger reads, and the digest of all of it."""

    ledger_id: str
    origin: str
    checkpoint_keys: Mapping[str, bytes]
    witnesses: Mapping[str, bytes]
    witness_quorum: int
    redaction: Redaction | None
    anchoring: Anchoring | None
    authorities: Mapping[str, Authority]
    digest: bytes

    def __post_init__(self) -> None:
        if not self.ledger_id or not NAME.fullmatch(self.origin):
            raise TrustRootError("ledger_id is empty or origin is not a name")
        if not self.checkpoint_keys:
            raise TrustRootError("no checkpoint key: every checkpoint would be refused")
        names = [*self.checkpoint_keys, *self.witnesses]
        keys = [*self.checkpoint_keys.values(), *self.witnesses.values()]
        if len(set(names)) != len(names) or len(set(keys)) != len(keys):
            raise TrustRootError("a name or a key stands twice among checkpoint keys and witnesses")
        if not all(NAME.fullmatch(name) for name in names):
            raise TrustRootError("the name of a key is not printable ASCII without space and plus")
        if not 0 <= self.witness_quorum <= len(self.witnesses):
            raise TrustRootError(f"quorum {self.witness_quorum} of {len(self.witnesses)} witnesses")
        if not all(AUTHORITY.fullmatch(name) for name in self.authorities):
            raise TrustRootError("a time-stamp authority's name is not of a-z, 0-9 and -")
        # One authority under two names would look like two that agree.
        roots = [root for authority in self.authorities.values() for root in authority.roots]
        if len(set(roots)) != len(roots):
            raise TrustRootError("two time-stamp authorities share a root")

    @classmethod
    def parse(cls, raw: bytes) -> Self:
        """Read the document's canonical bytes."""
        try:
            return cls.of(parse(raw, limit=LIMIT))
        except EncodingError as error:
            raise TrustRootError(str(error)) from None

    @classmethod
    def of(cls, document: JSON) -> Self:
        """Take what the ledger reads from the parsed document."""
        if type(document) is not dict or type(document.get("v")) is not int or document["v"] != 1:
            raise TrustRootError("not an object with v 1")
        if type(document.get("ledger_id")) is not str or type(document.get("origin")) is not str:
            raise TrustRootError("ledger_id or origin is not a string")
        quorum = document.get("witness_quorum")
        if type(quorum) is not int:
            raise TrustRootError("witness_quorum is not an integer")
        try:
            return cls(
                ledger_id=document["ledger_id"],
                origin=document["origin"],
                checkpoint_keys=_keys(document.get("checkpoint_keys")),
                witnesses=_keys(document.get("witnesses")),
                witness_quorum=quorum,
                redaction=_redaction(document.get("redaction")),
                anchoring=_anchoring(document.get("anchor")),
                authorities=_authorities(document.get("timestamp")),
                digest=hashlib.sha256(canonical(document, limit=LIMIT)).digest(),
            )
        except EncodingError as error:
            raise TrustRootError(str(error)) from None

    def verify(self, note: str) -> Checkpoint:
        """Return a note's checkpoint if it counts under this trust root."""
        checkpoint = verify(note, self.checkpoint_keys, self.witness_quorum, witnesses=self.witnesses)
        # The same key may sign for several ledgers: another ledger's checkpoint proves nothing here.
        if checkpoint.origin != self.origin:
            raise CheckpointError(f"origin {checkpoint.origin}, expected {self.origin}")
        return checkpoint


def _keys(document: JSON) -> dict[str, bytes]:
    if type(document) is not dict:
        raise TrustRootError("checkpoint_keys, witnesses or redaction keys are not an object")
    return {name: unhex(key, 32) for name, key in document.items()}


def _redaction(document: JSON) -> Redaction | None:
    if document is None:
        return None
    if type(document) is not dict or set(document) != {"keys", "quorum", "types"}:
        raise TrustRootError("redaction has not exactly keys, quorum and types")
    if type(document["quorum"]) is not int or type(document["types"]) is not dict:
        raise TrustRootError("redaction quorum is not an integer or types is not an object")
    return Redaction(keys=_keys(document["keys"]), quorum=document["quorum"], days=document["types"])


def _anchoring(document: JSON) -> Anchoring | None:
    if document is None:
        return None
    if type(document) is not dict or set(document) != {"chain_id", "contract", "sender"}:
        raise TrustRootError("anchor has not exactly chain_id, contract and sender")
    contract, sender = unhex(document["contract"], ADDRESS), unhex(document["sender"], ADDRESS)
    return Anchoring(chain_id=document["chain_id"], contract=contract, sender=sender)


def _authorities(document: JSON) -> dict[str, Authority]:
    if document is None:
        return {}
    if type(document) is not dict or not document:
        raise TrustRootError("timestamp is not an object of authorities by name")
    return {name: _authority(value) for name, value in document.items()}


def _authority(document: JSON) -> Authority:
    if type(document) is not dict or not {"roots"} <= set(document) <= {"roots", "policy"}:
        raise TrustRootError("a time-stamp authority has not exactly roots and, if at all, policy")
    if type(document["roots"]) is not list or type(document.get("policy", "")) is not str:
        raise TrustRootError("roots is not an array or policy is not a string")
    return Authority(roots=tuple(map(_certificate, document["roots"])), policy=document.get("policy"))


def _certificate(document: JSON) -> bytes:
    if type(document) is not str:
        raise TrustRootError("a certificate is not a string")
    return unhex(document, len(document) // 2)


def _check_policy(policy: str) -> None:
    try:
        spelled = x509.ObjectIdentifier(policy).dotted_string
    except ValueError:
        spelled = None
    if spelled != policy:
        raise TrustRootError(f"{policy!r:.80} is not the OID of a time-stamp policy")


def _check_root(raw: bytes) -> None:
    # No chain could end at another kind of certificate: that would only show when a time-stamp fails.
    try:
        certificate = x509.load_der_x509_certificate(raw)
        certificate.verify_directly_issued_by(certificate)
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    except UNREADABLE as error:
        detail = str(error) or type(error).__name__
        raise TrustRootError(f"a time-stamp root is no self-signed certificate: {detail:.200}") from None
    if not constraints.ca or certificate.public_bytes(Encoding.DER) != raw:
        raise TrustRootError("a time-stamp root is not a CA's certificate, in DER")
