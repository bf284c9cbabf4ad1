"""A desk without a chain: people with real credentials, a signed policy set, an observer, two intents.

Everything is signed as it would be; `press` is the attacker's hand: it holds the credentials' keys and makes
an assertion over whatever bytes it is given.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import rlp
from coincurve import PrivateKey
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from eth_hash.auto import keccak
from fido2.utils import websafe_encode
from trie import HexaryTrie

from ledger import checkpoint
from ledger.encoding import canonical
from workbench.demo import charter
from workbench.demo.newswap import Deployment
from workbench.evm.fields import checksummed
from workbench.evm.header import Header
from workbench.evm.proof import EMPTY_ROOT, Account, verify_account
from workbench.evm.transaction import address_of
from workbench.rules.approval import ApprovalRequest
from workbench.rules.assertion import APPROVAL, CONSOLE, Assertion, Credential
from workbench.rules.attestation import (
    HEADER_LINE,
    SIMULATION_LINE,
    AttestedState,
    Call,
    ProvenAccount,
    Simulation,
    State,
    Statement,
)
from workbench.rules.codes import Refusal, RefusedError
from workbench.rules.decision import Decision, SignedDecision, Subject
from workbench.rules.documents import digest, signed_bytes, write_time
from workbench.rules.facts import Given
from workbench.rules.intent import ACCOUNT_LINE, INTENT_LINE, Intent, Proposal
from workbench.rules.policy import Person, PolicySet, Signature, manifest_of
from workbench.rules.session import SESSION_LINE, CertifiedSession, Session
from workbench.rules.trust import UNSAFE_AAGUID, RelyingParty, TrustRoot

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
CHAIN_ID = 31337
NONCE = 7
MILLION = 1_000_000 * 10**6
WETH_OUT = 399 * 10**18
EVERY_PARTY = {**charter.PARTIES, CONSOLE: charter.CONSOLE}
TREASURY_KEY = PrivateKey(b"\x42" * 32).public_key.format(compressed=False).hex()
TREASURY = address_of(bytes.fromhex(TREASURY_KEY))
SECOND_KEY = "committee-1"
ACCOUNT = "oms-1"
ACCOUNTS = "service_accounts.json"

Json = dict[str, Any]


def address(name: str) -> str:
    """Return the address of a name, the same in every run."""
    return checksummed(hashlib.sha256(name.encode()).digest()[:20])


def digest_of(name: str) -> str:
    """Return a digest of a name."""
    return hashlib.sha256(name.encode()).hexdigest()


def observer_key(name: str) -> Ed25519PrivateKey:
    """Return an observer's key, the same in every run."""
    return Ed25519PrivateKey.from_private_bytes(hashlib.sha256(name.encode()).digest())


def public(name: str) -> str:
    """Return the public half of `observer_key`."""
    return observer_key(name).public_key().public_bytes_raw().hex()


DEPLOYMENT = Deployment(
    chain_id=CHAIN_ID,
    **{
        name: address(name)
        for name in ("usdc", "weth", "weth9", "factory", "router", "quoter", "positions", "pool", "anchor")
    },
    fee=500,
)
CODE = {DEPLOYMENT.router: digest_of("router code"), DEPLOYMENT.usdc: digest_of("usdc code")}


PROVEN = (TREASURY, DEPLOYMENT.router, DEPLOYMENT.usdc)


def refused(code: Refusal, path: str | None = None) -> "Refuses":
    """Return the expectation that a block is refused with this code and, when given, at this path."""
    return Refuses(code, path)


@dataclass
class Refuses:
    """Expect a refusal: another code, another path or none at all fails the test."""

    code: Refusal
    path: str | None
    detail: str = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> bool:
        assert isinstance(error, RefusedError), f"expected {self.code}, got {error!r}"
        assert error.code is self.code, f"expected {self.code}, got {error}"
        assert self.path is None or error.path == self.path, f"expected {self.path}, got {error.path}"
        self.detail = error.detail
        return True


@dataclass(frozen=True, repr=False)
class World:
    """The desk. Methods make documents as an honest party would; keyword arguments bend them."""

    folder: Path
    files: Mapping[str, bytes]
    policy: PolicySet
    trust_root: TrustRoot

    # people

    @cached_property
    def keys(self) -> dict[str, ec.EllipticCurvePrivateKey]:
        """Every credential's private key, by credential id."""
        found = {}
        for path in self.folder.glob("*.json"):
            for name, entry in json.loads(path.read_text()).items():
                key = serialization.load_pem_private_key(entry["key"].encode(), password=None)
                assert isinstance(key, ec.EllipticCurvePrivateKey)
                found[websafe_encode(bytes.fromhex(name))] = key
        return found

    def credential(self, person: str, path: str = "approval", index: int = 0) -> Any:
        """Return a person's credential."""
        return [each for each in self.policy.people[person].credentials if each.path == path][index]

    def sign_as(
        self, person: str, challenge: bytes, *, path: str = "approval", index: int = 0, counter: int = 9
    ) -> Assertion:
        """Return an honest assertion."""
        credential = self.credential(person, path, index).id
        return press(self.keys, credential, challenge, party=EVERY_PARTY[path], counter=counter)

    def certify(self, person: str = "pm-1", **changes: Any) -> tuple[Ed25519PrivateKey, CertifiedSession]:
        """Return a session key and its session, certified by the person's login credential."""
        key = Ed25519PrivateKey.generate()
        known = self.policy.people[person]
        session = Session.load(
            {
                "v": 1,
                "public_key": key.public_key().public_bytes_raw().hex(),
                "person": person,
                "os_user": 1000,
                "roles": list(known.roles),
                "issued_at": write_time(NOW - timedelta(hours=1)),
                "expires_at": write_time(NOW + timedelta(hours=7)),
                "nonce": digest_of("session nonce"),
            }
            | changes
        )
        challenge = digest(SESSION_LINE, session.canonical())
        assertion = self.sign_as(person, challenge, path="login")
        return key, CertifiedSession(session=session, assertion=assertion)

    # policy sets

    def sign_set(
        self,
        files: Mapping[str, bytes],
        *,
        signers: Iterable[str | tuple[str, int | None]] = charter.SIGNERS,
        after: PolicySet | None = None,
        keys: Mapping[str, ec.EllipticCurvePrivateKey] | None = None,
        **changes: Any,
    ) -> PolicySet:
        """Return a set that follows `after`, signed by the signers.

        A name signs by the second path where its person has one, a name and a number on the page.
        """
        version = after.manifest.version + 1 if after else 1
        named = after.digest if after else None
        manifest = manifest_of(files, name="desk", version=version, previous=named, at=write_time(NOW))
        manifest = type(manifest).load(manifest.dump() | changes)
        unsigned = PolicySet(manifest, dict(files), [])
        signatures = []
        for each in signers:
            person, index = each if isinstance(each, tuple) else (each, None)
            known = unsigned.people.get(person) or self.policy.people[person]
            credential = deciding(known, index)
            held = keys or self.keys
            party = EVERY_PARTY[credential.path]
            assertion = press(held, credential.id, unsigned.challenge, party=party)
            signatures.append(Signature(person=person, assertion=assertion))
        return PolicySet(manifest, dict(files), signatures)

    def with_file(self, name: str, change: Any) -> dict[str, bytes]:
        """Return the files with one changed: `change` gets the parsed value and returns another."""
        value = change(json.loads(self.files[name]))
        return {**self.files, name: canonical(value, limit=2**20)}

    def policy_with(self, name: str, change: Any) -> PolicySet:
        """Return an unsigned set with one JSON file changed."""
        return self.policy_of(self.with_file(name, change))

    def policy_of(self, files: Mapping[str, bytes]) -> PolicySet:
        """Return an unsigned set of these files."""
        manifest = manifest_of(files, name="desk", version=1, previous=None, at=write_time(NOW))
        return PolicySet(manifest, dict(files), [])

    def root(self, **changes: Any) -> TrustRoot:
        """Return the trust root with some fields changed."""
        return TrustRoot.load(self.trust_root.dump() | changes)

    # intents

    def swap(self, **changes: Any) -> Intent:
        """Return the sale of a million USDC."""
        data = DEPLOYMENT.swap(
            recipient=TREASURY,
            amount_in=MILLION,
            amount_out_minimum=WETH_OUT,
            deadline=int((NOW + timedelta(hours=1)).timestamp()),
        )
        deltas = [
            {"account": TREASURY, "asset": DEPLOYMENT.usdc, "amount": str(-MILLION)},
            {"account": TREASURY, "asset": DEPLOYMENT.weth, "amount": str(WETH_OUT)},
        ]
        spent = {"owner": TREASURY, "spender": DEPLOYMENT.router, "asset": DEPLOYMENT.usdc, "amount": "0"}
        fields = {"to": DEPLOYMENT.router, "data": data.hex(), "deltas": deltas, "allowances": [spent]}
        return Intent.load(_intent() | fields | changes)

    def approval(self, **changes: Any) -> Intent:
        """Return the approval of the router for a million USDC."""
        grant = {"owner": TREASURY, "spender": DEPLOYMENT.router, "asset": DEPLOYMENT.usdc}
        fields = {
            "to": DEPLOYMENT.usdc,
            "data": DEPLOYMENT.approval(MILLION).hex(),
            "deltas": [],
            "allowances": [{**grant, "amount": str(MILLION)}],
        }
        return Intent.load(_intent() | fields | changes)

    def propose(self, intent: Intent, person: str = "pm-1", **session: Any) -> Proposal:
        """Return the intent as the person's session proposes it."""
        key, certified = self.certify(person, **session)
        signature = key.sign(signed_bytes(INTENT_LINE, intent.canonical()))
        return Proposal(intent=intent, signature=signature.hex(), session=certified)

    def propose_as(
        self, intent: Intent, *, signer: str = ACCOUNT, line: str = ACCOUNT_LINE, **changes: Any
    ) -> Proposal:
        """Return the intent as a service account proposes it, signed with the key of this name."""
        signature = observer_key(signer).sign(signed_bytes(line, intent.canonical()))
        return Proposal.load({"intent": intent.dump(), "signature": signature.hex()} | changes)

    def enrolling(self, *accounts: Json) -> Self:
        """Return this desk with service accounts in its genesis set."""
        files = self.with_file(ACCOUNTS, lambda _: list(accounts))
        policy = self.sign_set(files)
        root = self.root(genesis_policy=policy.digest)
        return replace(self, files=files, policy=policy, trust_root=root)

    # what observers attest

    def simulation(self, intent: Intent, /, **changes: Any) -> Simulation:
        """Return what a simulation of the intent would honestly say, and again one block later."""
        outcome = {
            "deltas": [delta.dump() for delta in intent.deltas],
            "allowances": [allowance.dump() for allowance in intent.allowances],
            "items": [],
            "rights": [],
            "admin_changes": [],
            "revert": None,
        }
        outcome |= {name: value for name, value in changes.items() if name in outcome}
        told = {
            "v": 1,
            "intent": intent.digest,
            "chain_id": CHAIN_ID,
            "block": {"number": 100, "hash": digest_of("block")},
            "sender": TREASURY,
            "call": Call.of(intent, TREASURY).digest(intent),
            **outcome,
            "accounts": sorted({key.address for key in self.policy.keys.values()}),
            "again": outcome,
            "findings": [],
            "gas": 150_000,
            "slippage_bps": 20 if intent.deltas else None,
            "slippage_ppm": 2000 if intent.deltas else None,
            "loss": {"asset": DEPLOYMENT.usdc, "amount": "2000000000"} if intent.deltas else None,
            "sequence": None,
            "at": write_time(NOW - timedelta(seconds=5)),
        } | changes
        return Simulation.load({"tokens": self._tokens(told), **told})

    def _tokens(self, told: Json) -> list[Json]:
        """Return what the tokens of a simulation honestly say of themselves."""
        effects = ("deltas", "allowances", "items", "rights")
        both = (told, told["again"])
        assets = {each["asset"] for one in both for name in effects for each in one[name]} - {"ETH"}
        listed = self.policy.assets
        return [
            {
                "asset": asset,
                "symbol": listed[asset].symbol if asset in listed else None,
                "decimals": listed[asset].decimals if asset in listed else None,
            }
            for asset in sorted(assets)
        ]

    def state(
        self, *, observer: str = "observer", account: Json | None = None, **changes: Any
    ) -> AttestedState:
        """Return the treasury's and the router's accounts under an attested header."""
        trie, header = chain_state(account)
        document = attested_document(header) | changes
        return AttestedState(
            attestation=statement(observer, HEADER_LINE, document),
            header=header.encode().hex(),
            accounts=[proven(trie, each) for each in PROVEN],
        )

    # decisions

    def subject(self, intent: Intent) -> Subject:
        """Return what a decision on the intent must be about."""
        simulation = self.simulation(intent).digest
        return Subject(intent=intent.digest, nonce=NONCE, simulation=simulation, proposer=intent.proposer)

    def decision(self, person: str, role: str, /, **changes: Any) -> Decision:
        """Return a decision document on the swap."""
        subject = self.subject(self.swap())
        name = hashlib.sha256(f"{person} {role} {sorted(changes)}".encode()).hexdigest()[:32]
        return Decision.load(
            {
                "v": 1,
                "id": name,
                "verb": "approve",
                "intent": subject.intent,
                "nonce": subject.nonce,
                "policy": self.policy.digest,
                "simulation": subject.simulation,
                "tolerance": {"inflow_bps": 10},
                "ledger": {"size": 3, "root": digest_of("root"), "h": digest_of("h")},
                "person": person,
                "role": role,
                "proposer": subject.proposer,
                "reason": "as declared",
                "server_nonce": digest_of("server nonce"),
                "expires_at": write_time(NOW + timedelta(seconds=600)),
            }
            | changes
        )

    def decide(
        self, person: str, role: str, *, key: int = 0, path: str = "approval", **changes: Any
    ) -> SignedDecision:
        """Return a person's signed decision on the swap."""
        decision = self.decision(person, role, **changes)
        assertion = self.sign_as(person, decision.challenge, path=path, index=key)
        return SignedDecision(decision=decision, assertion=assertion)

    # requests

    def request(self, person: str, intent: Intent | None = None, /, **changes: Any) -> ApprovalRequest:
        """Return what this person would honestly be asked about an intent of the portfolio manager's."""
        intent = intent or self.swap()
        fields: Json = {
            "v": 1,
            "person": person,
            "server_nonce": digest_of("server nonce"),
            "proposal": self.propose(intent).dump(),
            "nonce": NONCE,
            "policy_chain": [self.policy.dump()],
            "simulations": [attest(self.simulation(intent)).dump()],
            "before": [],
            "states": [self.state().dump()],
            "decisions": [],
            "checkpoint": note(),
            "session_active": True,
            "daily_usd_cents": 100_000_000,
            "quotes": [],
        }
        return ApprovalRequest.load(fields | changes)

    # facts

    def given(self, intent: Intent | None = None, /, **changes: Any) -> Given:
        """Return everything that facts of the intent are computed from."""
        intent = intent or self.swap()
        fields: Json = {
            "intent": intent,
            "policy": self.policy,
            "transaction": intent.transaction(NONCE, intent.caps),
            "reserved_nonce": NONCE,
            "state": State(
                100,
                digest_of("block"),
                NOW - timedelta(seconds=12),
                NOW - timedelta(seconds=4),
                10**9,
                accounts(),
            ),
            "approved": self.simulation(intent),
            "fresh": self.simulation(intent),
            "approvals": None,
            "now": NOW,
        }
        return Given(**(fields | changes))


def deciding(person: Person, index: int | None) -> Credential:
    """Return a credential for deciding: of the page by number, or else of the second path if he has one."""
    paths = {path: [each for each in person.credentials if each.path == path] for path in EVERY_PARTY}
    if index is None and paths[CONSOLE]:
        return paths[CONSOLE][0]
    return paths[APPROVAL][index or 0]


def press(
    keys: Mapping[str, ec.EllipticCurvePrivateKey],
    credential: str,
    challenge: bytes,
    *,
    party: RelyingParty,
    rp_id: str | None = None,
    flags: int = 0x05,
    tail: bytes = b"",
    cut: int | None = None,
    counter: int = 9,
    client: Json | None = None,
    client_raw: bytes | None = None,
    signer: str | None = None,
) -> Assertion:
    """Return an assertion over these bytes; a field of `client` that is None is left out."""
    said: Json = {
        "type": "webauthn.get",
        "challenge": websafe_encode(challenge),
        "origin": party.origin,
        "crossOrigin": False,
    } | (client or {})
    honest = json.dumps({name: value for name, value in said.items() if value is not None}).encode()
    client_data = honest if client_raw is None else client_raw
    data = hashlib.sha256((rp_id or party.id).encode()).digest() + bytes([flags]) + counter.to_bytes(4) + tail
    data = data[:cut]
    key = keys[signer or credential]
    signature = key.sign(data + hashlib.sha256(client_data).digest(), ec.ECDSA(hashes.SHA256()))
    return Assertion(
        credential=credential,
        client_data=websafe_encode(client_data),
        authenticator_data=websafe_encode(data),
        signature=websafe_encode(signature),
    )


def account(**changes: Any) -> Json:
    """Return a service account of the trader's, whose keys are named after it."""
    name = changes.get("id", ACCOUNT)
    return {
        "id": name,
        "purpose": "order management",
        "owner": "trader-1",
        "certificate": digest_of(f"certificate of {name}"),
        "public_key": public(name),
        "keys": [charter.KEY_ID],
        "proposals_per_minute": 60,
        "expires_at": write_time(NOW + timedelta(days=30)),
    } | changes


def statement(observer: str, line: str, document: Json) -> Statement:
    """Return a document with an observer's signature."""
    signature = observer_key(observer).sign(signed_bytes(line, canonical(document, limit=2**20)))
    return Statement(document=document, observer=observer, signature=signature.hex())


def attest(simulation: Simulation, observer: str = "observer") -> Statement:
    """Return a simulation as an observer signs it."""
    return statement(observer, SIMULATION_LINE, simulation.dump())


def note(signer: str = "service", **changes: Any) -> str:
    """Return a checkpoint as the service's key signs it."""
    fields = {"origin": "desk.test/ledger", "size": 9, "root": b"\x01" * 32, "chain": b"\x02" * 32}
    key = observer_key(signer)
    public_bytes = key.public_key().public_bytes_raw()
    return checkpoint.sign(checkpoint.Checkpoint(**(fields | changes)), "service", public_bytes, key.sign)


def flip(text: str, at: int = 8) -> str:
    """Return hex or base64url with one character changed to another of the same alphabet."""
    other = "1" if text[at] == "0" else "0"
    return text[:at] + other + text[at + 1 :]


def account_fields(**changes: Any) -> Json:
    """Return the treasury's account: a nonce, ten ether, no code."""
    return {"nonce": NONCE, "balance": 10**19, "storage": EMPTY_ROOT, "code": keccak(b"")} | changes


def accounts(**treasury: Any) -> dict[str, Account]:
    """Return the proven accounts, as `verify_state` would."""
    trie, header = chain_state(treasury)
    from_proof = [proven(trie, each) for each in PROVEN]
    return {each.address: _account(header, each) for each in from_proof}


def chain_state(treasury: Json | None = None, **header: Any) -> tuple[HexaryTrie, Header]:
    """Return a state trie with the treasury and the router, and a header over it."""
    trie = HexaryTrie({})
    mine = account_fields(**(treasury or {}))
    router = account_fields(nonce=1, balance=0, code=bytes.fromhex(CODE[DEPLOYMENT.router]))
    token = account_fields(nonce=1, balance=0, code=bytes.fromhex(CODE[DEPLOYMENT.usdc]))
    for name, fields in ((TREASURY, mine), (DEPLOYMENT.router, router), (DEPLOYMENT.usdc, token)):
        value = rlp.encode([fields["nonce"], fields["balance"], fields["storage"], fields["code"]])
        trie[keccak(bytes.fromhex(name[2:]))] = value
    return trie, Header(**(_header(trie.root_hash) | header))


def proven(trie: HexaryTrie, name: str) -> ProvenAccount:
    """Return an account with its proof, told as the trie has it."""
    hashed = keccak(bytes.fromhex(name[2:]))
    nonce, balance, storage, code = rlp.decode(trie[hashed])
    return ProvenAccount.load(
        {
            "address": name,
            "nonce": int.from_bytes(nonce),
            "balance": str(int.from_bytes(balance)),
            "storage_root": storage.hex(),
            "code_hash": code.hex(),
            "proof": [rlp.encode(node).hex() for node in trie.get_proof(hashed)],
        }
    )


def attested_document(header: Header, at: datetime | None = None) -> Json:
    """Return what an observer signs of a header."""
    return {
        "v": 1,
        "chain_id": CHAIN_ID,
        "block": {
            "number": header.number,
            "hash": header.hash().hex(),
            "state_root": header.state_root.hex(),
            "receipts_root": header.receipts_root.hex(),
        },
        "at": write_time(at or NOW - timedelta(seconds=4)),
    }


def build(folder: Path) -> World:
    """Make the people, the policy set and the trust root."""
    made = charter.files(
        people=charter.enrol(folder, second_key=[SECOND_KEY]),
        keys=charter.whole(TREASURY_KEY),
        deployment=DEPLOYMENT,
        code=CODE,
        now=NOW,
    )
    policy = charter.signed(made, officers=folder, version=1, previous=None, now=NOW - timedelta(days=1))
    return World(folder=folder, files=made, policy=policy, trust_root=TrustRoot.load(trust_document(policy)))


def trust_document(policy: PolicySet) -> Json:
    """Return a demo trust root's fields."""
    return {
        "v": 1,
        "profile": "demo",
        "ledger_id": "00" * 16,
        "chain_id": CHAIN_ID,
        "origin": "desk.test/ledger",
        "checkpoint_keys": {"service": public("service")},
        "witnesses": {},
        "witness_quorum": 0,
        "cosigners": {charter.COSIGNER: public("cosigner")},
        "observers": {"observer": public("observer")},
        "observer_quorum": 1,
        "node_quorum": 1,
        "watcher": None,
        "login": charter.LOGIN.dump(),
        "approval": charter.APPROVAL.dump(),
        "console": charter.CONSOLE.dump(),
        "aaguids": [UNSAFE_AAGUID],
        "genesis_policy": policy.digest,
    }


def without(document: Mapping[str, Any], *names: str) -> Json:
    """Return a document without some fields."""
    return {name: value for name, value in document.items() if name not in names}


def _intent() -> Json:
    return {
        "v": 1,
        "id": "ab" * 16,
        "proposer": "pm-1",
        "key": charter.KEY_ID,
        "chain_id": CHAIN_ID,
        "value": "0",
        "gas_max": 400_000,
        "max_fee_per_gas": 100 * 10**9,
        "max_priority_fee_per_gas": 10**9,
        "purpose": "rebalance",
        "expires_at": write_time(NOW + timedelta(hours=2)),
    }


def _header(state_root: bytes) -> Json:
    zero = bytes(32)
    return {
        "parent_hash": zero,
        "ommers_hash": zero,
        "beneficiary": bytes(20),
        "state_root": state_root,
        "transactions_root": zero,
        "receipts_root": zero,
        "logs_bloom": bytes(256),
        "difficulty": 0,
        "number": 100,
        "gas_limit": 30_000_000,
        "gas_used": 0,
        "timestamp": int((NOW - timedelta(seconds=12)).timestamp()),
        "extra_data": b"",
        "mix_hash": zero,
        "nonce": bytes(8),
        "base_fee_per_gas": 10**9,
        "withdrawals_root": zero,
        "blob_gas_used": 0,
        "excess_blob_gas": 0,
        "parent_beacon_block_root": zero,
        "requests_hash": zero,
    }


def _account(header: Header, told: ProvenAccount) -> Account:
    return verify_account(header.state_root, told.address, [bytes.fromhex(node) for node in told.proof])
