"""The demo world's policy set: the template of `policies/desk`, with people, key and contracts filled in."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from eth_hash.auto import keccak

from ledger.encoding import canonical
from workbench.demo.authenticator import UnsafeSoftwareAuthenticator
from workbench.demo.newswap import Deployment
from workbench.evm import known
from workbench.evm.calldata import APPROVE, EXACT_INPUT_SINGLE
from workbench.evm.fields import checksummed
from workbench.evm.transaction import address_of
from workbench.identity.ctap import Authenticator
from workbench.rules.documents import write_time
from workbench.rules.policy import Manifest, PolicySet, Signature, manifest_of
from workbench.rules.safe_pins import Pinned
from workbench.rules.trust import UNSAFE_AAGUID, RelyingParty

TEMPLATE = Path(__file__).resolve().parents[2] / "policies" / "desk"
ENTRY_LIFE = timedelta(days=180)
LOGIN = RelyingParty(id="login.localhost", origin="http://login.localhost:8442")
APPROVAL = RelyingParty(id="approve.localhost", origin="http://approve.localhost:8443")
"""Worlds that live at once have ports of their own: an origin names its port, an RP id does not."""
CONSOLE = RelyingParty(id="console.localhost", origin="https://console.localhost")
"""No page is ever served there: the origin is what the command line calls itself."""
PARTIES = {"login": LOGIN, "approval": APPROVAL}
SPARE = "-spare"
KEY_ID = "treasury"
COSIGNER = "cosigner-1"
COSIGNERS = ("cosigner-1", "cosigner-2", "cosigner-3", "cosigner-4", "cosigner-5")
"""Where the key is shared, and three of them sign together."""
THRESHOLD = 3
EXECUTOR_ID, EXECUTOR = "carrier", "cosigner-6"
"""Where the treasury is a Safe: the key that pays for what its owners sign, and who has it."""
PAYEE = checksummed(keccak(b"payee of the demo")[12:])
"""Whom a Safe's treasury may pay."""
WHOLE = {"engine": "hsm", "cosigners": [COSIGNER]}
SHARED = {"engine": "mpc", "cosigners": list(COSIGNERS), "threshold": THRESHOLD}


@dataclass(frozen=True, slots=True)
class Member:
    """One of the demo world's people: an id that says what they are, and their roles."""

    id: str
    name: str
    roles: tuple[str, ...]
    team: str
    site: str


MEMBERS = (
    Member("pm-1", "Portfolio manager", ("portfolio_manager",), "trading", "north"),
    Member("trader-1", "Trader", ("trader",), "trading", "north"),
    Member("cro-1", "Chief risk officer", ("cro", "committee"), "risk", "south"),
    Member("risk-1", "Risk officer", ("risk_officer", "committee"), "risk", "north"),
    Member("committee-1", "Committee member", ("committee",), "security", "south"),
    Member("admin-1", "Administrator", ("administrator",), "operations", "north"),
    Member("auditor-1", "Auditor", ("auditor",), "audit", "elsewhere"),
)
Limit = int | str | Mapping[str, int | str]
SIGNERS = ("committee-1", "cro-1", "risk-1")


@dataclass(frozen=True, slots=True)
class Clock:
    """A time-stamp authority: what the trust root says of it, and where the service asks it."""

    authority: Mapping[str, Any]
    url: str


@dataclass(frozen=True, slots=True)
class Variant:
    """How a world differs from the template: second approval keys, other limits, time-stamp authorities.

    `admitted` are the models of security keys that visitors may bring, by AAGUID, beside the software ones;
    `nodes` says by which nodes, named, an observer looks at the chain that is at an address; `relay`
    where its private relay is; of so many `observers`, `observer_quorum` must agree. `engine` says whether
    the treasury's key is whole in one co-signer's token, shared by five, or a Safe that five own; `jailed`,
    whether co-signers are started shut in, by root as OS users of their own; `recovery`, whether officers
    keep backups of shares.
    """

    second_key: tuple[str, ...] = ()
    limits: Mapping[str, Limit] = field(default_factory=dict)
    clocks: Mapping[str, Clock] = field(default_factory=dict)
    admitted: tuple[str, ...] = ()
    nodes: Callable[[str], Mapping[str, str]] = lambda url: {"node-1": url}
    observers: int = 1
    observer_quorum: int = 1
    relay: str | None = None
    engine: Literal["hsm", "mpc", "safe"] = "hsm"
    jailed: bool = False
    recovery: bool = False


TEMPLATE_ONLY = Variant()


def authenticator(folder: Path, person: str, party: RelyingParty) -> Authenticator:
    """Return a person's software authenticator for one relying party."""
    return Authenticator(UnsafeSoftwareAuthenticator(folder / f"{person}.json"), party)


def enrol(folder: Path, *, second_key: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Make everybody's credentials, on two authenticators each: the second lies in a drawer.

    Those who sign policy sets have a credential for the second path, too.

    Those in `second_key` get a second approval credential on their first one.
    """
    people = []
    for member in MEMBERS:
        paths = [(member.id, path) for path in PARTIES]
        paths += [(member.id, "approval")] if member.id in second_key else []
        paths += [(member.id + SPARE, path) for path in PARTIES]
        paths += [(member.id, "console")] if member.id in SIGNERS else []
        credentials = [
            authenticator(folder, device, {**PARTIES, "console": CONSOLE}[path])
            .enrol(person=member.id, name=member.name, path=path, aaguids=[UNSAFE_AAGUID])
            .dump()
            for device, path in paths
        ]
        people.append(
            {
                "id": member.id,
                "name": member.name,
                "roles": list(member.roles),
                "team": member.team,
                "site": member.site,
                "credentials": credentials,
            }
        )
    return people


KEEPS = {"recovery-1": COSIGNERS[:2], "recovery-2": COSIGNERS[2:4], "recovery-3": COSIGNERS[4:]}
"""Of whose shares each recovery officer has backups: always fewer than sign together."""


def recovery(keys: Mapping[str, Mapping[str, str]]) -> list[dict[str, Any]]:
    """Return who keeps backups; in truth their tokens are on this machine, too.

    Args:
        keys: the public half of each officer's pair, by name.

    """
    return [
        {
            "name": name,
            "key": dict(keys[name]),
            "site": f"vault-of-{name}",
            "administrator": f"keeper-of-{name}",
            "team": team,
            "keeps": {KEY_ID: list(kept)},
        }
        for (name, kept), team in zip(KEEPS.items(), ("board", "finance", "legal"), strict=True)
    ]


def places(engine: str) -> list[dict[str, str]]:
    """Return where the co-signers would stand; in truth all of them are on this machine, in SoftHSM."""
    names = _cosigners(engine)
    sites = ("north", "south", "elsewhere", "north", "south", "elsewhere")
    hands = ("operations", "security", "custody", "operations", "security", "custody")
    return [
        {
            "name": name,
            "site": site,
            "host": "demo",
            "vendor": "SoftHSM 2",
            "administrator": f"administrator-of-{hand}",
            "team": hand,
        }
        for name, site, hand in zip(names, sites, hands, strict=False)
    ]


def cosigners(variant: Variant) -> tuple[str, ...]:
    """Return who holds the treasury's key, and what carries out what its owners sign."""
    return _cosigners(variant.engine)


def _cosigners(engine: str) -> tuple[str, ...]:
    if engine == "safe":
        return (*COSIGNERS, EXECUTOR)
    return COSIGNERS if engine == "mpc" else (COSIGNER,)


def whole(public_key: str, *, engine: str = TEMPLATE_ONLY.engine) -> list[dict[str, Any]]:
    """Return the treasury's key as the set lists it, where it has a point."""
    return [
        {
            "id": KEY_ID,
            "address": address_of(bytes.fromhex(public_key)),
            "public_key": public_key,
            "tier": "hot",
            "purpose": "treasury of the desk",
            **(SHARED if engine == "mpc" else WHOLE),
        }
    ]


def owned(pinned: Pinned, owners: Mapping[str, str], executor: str) -> list[dict[str, Any]]:
    """Return a treasury that is a Safe as the set lists it, and its executor's key; owners by co-signer."""
    pins = {
        "singleton": pinned.singleton,
        "multi_send": pinned.multi_send,
        "guard": pinned.guard,
        "fallback_handler": pinned.fallback_handler,
        "modules": sorted(pinned.modules),
        "code_hashes": {address: code.hex() for address, code in pinned.code_hashes.items()},
        "critical_quorum": pinned.critical_quorum,
    }
    carrier = whole(executor)[0] | {"id": EXECUTOR_ID, "cosigners": [EXECUTOR]}
    return [
        {
            "id": KEY_ID,
            "address": pinned.safe,
            "tier": "hot",
            "engine": "safe",
            "purpose": "treasury of the desk",
            "owners": [{"cosigner": name, "public_key": point} for name, point in owners.items()],
            "threshold": pinned.threshold,
            "pins": pins,
            "executor": EXECUTOR_ID,
        },
        carrier | {"purpose": "pays the gas for the treasury's Safe"},
    ]


def files(
    *,
    people: list[dict[str, Any]],
    keys: list[dict[str, Any]],
    deployment: Deployment,
    code: Mapping[str, str],
    now: datetime,
    limits: Mapping[str, Limit] = TEMPLATE_ONLY.limits,
    engine: str = TEMPLATE_ONLY.engine,
    recovery: Sequence[Mapping[str, Any]] = (),
) -> dict[str, bytes]:
    """Return the set's files; `code` maps each contract's address to its code hash.

    A treasury that is a Safe may pay, and may do several things at once.
    """
    until = write_time(now + ENTRY_LIFE)

    def entry(address: str, name: str, audit: str, *functions: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "address": address,
            "name": name,
            "chain_id": deployment.chain_id,
            "code_hash": code[address],
            "expires_at": until,
            "audit": audit,
            "functions": list(functions),
        }

    swap = {
        "fragment": EXACT_INPUT_SINGLE,
        "bounds": {
            "params.tokenIn": {"one_of": [deployment.usdc]},
            "params.tokenOut": {"one_of": [deployment.weth]},
            "params.fee": {"one_of": [str(deployment.fee)]},
            "params.recipient": {"equals": "key_address"},
            "params.deadline": {"at_most": "expires_at"},
            "params.amountIn": {"equals": "declared_outflow"},
            "params.amountOutMinimum": {"at_least": "declared_inflow"},
            "params.sqrtPriceLimitX96": {"one_of": ["0"]},
        },
    }
    approve = {
        "fragment": APPROVE,
        "bounds": {"spender": {"one_of": [deployment.router]}, "amount": {"equals": "declared_allowance"}},
    }
    documents: dict[str, Any] = {
        "people.json": people,
        "keys.json": keys,
        "assets.json": [
            {"asset": "ETH", "symbol": "ETH", "decimals": 18, "unit_usd_cents": 250_000, "priced_as": "ETH"},
            {
                "asset": deployment.usdc,
                "symbol": "USDC",
                "decimals": 6,
                "unit_usd_cents": 100,
                "priced_as": "USDC",
            },
            {
                "asset": deployment.weth,
                "symbol": "WETH",
                "decimals": 18,
                "unit_usd_cents": 250_000,
                "priced_as": "ETH",
            },
        ],
        "whitelist.json": [
            entry(deployment.router, "NewSwap router", "re-audited after the patch, no open finding", swap),
            entry(deployment.usdc, "USD Coin", "token contract, approve only", approve, *_pays(keys)),
            *(entry(each, "MultiSendCallOnly", "the Safe's own batch", BATCH) for each in batches(keys)),
        ],
        "cosigners.json": places(engine),
        "recovery.json": list(recovery),
        "service_accounts.json": [],
        "roles.json": json.loads((TEMPLATE / "roles.json").read_text()),
        "limits.json": {**json.loads((TEMPLATE / "limits.json").read_text()), **limits},
    }
    made = {name: canonical(value, limit=2**20) for name, value in documents.items()}
    for name in ("policies.cedar", "schema.cedarschema"):
        made[name] = (TEMPLATE / name).read_bytes()
    return made


PAY: Mapping[str, Any] = {
    "fragment": known.fragment("transfer(address to, uint256 amount)"),
    "bounds": {"to": {"one_of": [PAYEE]}, "amount": {"equals": "declared_outflow"}},
}
BATCH: Mapping[str, Any] = {
    "fragment": known.fragment("multiSend(bytes transactions)"),
    "bounds": {"transactions": {"any": True}},
}
"""Of the bytes that it carries, each call is judged as if it were the only one."""


def batches(keys: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the contract that runs the batches of each Safe among these keys."""
    return [each["pins"]["multi_send"] for each in keys if each["engine"] == "safe"]


def _pays(keys: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [PAY] if batches(keys) else []


def signed(
    made: Mapping[str, bytes],
    *,
    officers: Path,
    version: int,
    previous: PolicySet | None,
    now: datetime,
    party: RelyingParty = APPROVAL,
) -> PolicySet:
    """Return the set with the assertions of the committee over its manifest."""
    manifest: Manifest = manifest_of(
        made,
        name="desk",
        version=version,
        previous=previous.digest if previous else None,
        at=write_time(now),
    )
    unsigned = PolicySet(manifest, dict(made), [])
    signatures = []
    for person in SIGNERS:
        credential = next(c for c in unsigned.people[person].credentials if c.path == "approval")
        assertion = authenticator(officers, person, party).sign(unsigned.challenge, credential=credential.id)
        signatures.append(Signature(person=person, assertion=assertion))
    return PolicySet(manifest, dict(made), signatures)
