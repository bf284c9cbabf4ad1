"""Build the demo world: a chain with NewSwap on it, tokens, people, a signed policy set, a ledger.

Everything is real but the people's fingers: SoftHSM tokens, anvil with Uniswap's own
contracts, WebAuthn assertions from a software authenticator. The trust root it makes has
the profile `demo`; under a production one the same processes refuse to run like this.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ledger import signer, store, witness
from ledger.chain import Genesis
from ledger.encoding import canonical
from workbench.chain.node import Node
from workbench.chain.state import proven_account
from workbench.cosigner import blocks, memory, orders
from workbench.demo import charter, safe
from workbench.demo.founding import ceremony
from workbench.demo.newswap import ETHER, USDC_UNIT, Deployment, fund
from workbench.demo.node import anvil_binary
from workbench.demo.provision import configured, provision
from workbench.evm.fields import address_bytes
from workbench.evm.transaction import address_of
from workbench.process.jail import Jail
from workbench.rules.policy import PolicySet
from workbench.rules.trust import UNSAFE_AAGUID, VIRTUAL_AAGUID, RelyingParty, TrustRoot
from workbench.watcher import memory as watching

TREASURY_USDC = 20_000_000 * USDC_UNIT
TREASURY_ETHER = 10 * ETHER
SERVICE, OBSERVER, ANCHOR, APPROVER = "service", "observer-1", "anchor", "approver"
WATCHER = "watcher"
WITNESSES = ("witness-1",)
NO_FILES = ("certificate", "certificate_key", "metadata", "metadata_root")
"""The demo's pages have no TLS, and no vendor vouches for its keys."""
"""An auditor's own, beside the co-signers and the watcher, which are witnesses too."""
FOLDERS = {
    "cosigner": "cosigners/",
    "observer": "observers/",
    "witness": "witnesses/",
    "recovery": "recovery/",
}
WITNESS_FAULTS = {3: 1, 7: 2, 8: 3}
"""Of so many witnesses so many may be silent: two of three make a checkpoint count, or five of more."""
ORIGIN = "desk.demo/ledger"
LEASE_EVERY_S, LEASE_TTL_S = 3, 30
"""Long enough for a machine on which everything runs at once and slowly."""
ANCHOR_EVERY_S = 5
TIMESTAMP_EVERY_S = 5
"""For worlds with an authority of their own; strangers would rather be asked once a day."""
USER_FIRST = 61184
"""Numbers of OS users that no account has (systemd gives them out while a service runs)."""
ANCHOR_ETHER = ETHER // 10
"""Gas for some thousand anchors; nothing else is worth stealing there."""


@dataclass(frozen=True, slots=True)
class Places:
    """Where everything of one world is; sockets stand apart because their paths must be short."""

    state: Path
    runtime: Path

    @property
    def officers(self) -> Path:
        """The software authenticators."""
        return self.state / "officers"

    @property
    def trust_root(self) -> Path:
        """The trust root, as every process and every auditor has it."""
        return self.state / "trust-root.json"

    @property
    def policies(self) -> Path:
        """The policy sets, as the service carries them."""
        return self.state / SERVICE / "policies"

    def root(self, process: str) -> Path:
        """Return a process's state root."""
        return self.state / (FOLDERS.get(process.split("-", maxsplit=1)[0], "") + process)

    def socket(self, process: str) -> Path:
        """Return a process's socket; a co-signer's is in a folder of its own, which it can be given alone."""
        folder = self.runtime / process if process.startswith("cosigner-") else self.runtime
        return folder / f"{process}.sock"


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """A built world; `workbench.demo.stack` brings it to life."""

    places: Places
    deployment: Deployment
    trust_root: TrustRoot
    policy: PolicySet
    treasury: str
    packages: Path
    jails: Mapping[str, Jail]


def build(
    places: Places,
    *,
    packages: Path,
    deployment: Deployment,
    node_url: str,
    variant: charter.Variant = charter.TEMPLATE_ONLY,
) -> World:
    """Make every token, person, document and the empty ledger; fund the treasury on the chain."""
    now = datetime.now(UTC)
    observers = [f"observer-{number + 1}" for number in range(variant.observers)]
    cosigners = charter.cosigners(variant)
    second = {ANCHOR: "gas/1"} | _wholes(variant)
    second |= dict.fromkeys(observers, "relay/1") if variant.relay else {}
    sealing = dict.fromkeys(cosigners, "seal/1") if variant.engine == "mpc" else {}
    for name in cosigners:
        places.socket(name).parent.mkdir(mode=0o700)
    keys = {
        name: provision(places.root(name), name, secp256k1=second.get(name), sealing=sealing.get(name))
        for name in (SERVICE, *observers, *cosigners, WATCHER, ANCHOR)
    }
    if variant.engine == "mpc":
        holders = {name: keys[name] for name in cosigners}
        public_key = ceremony(places.root, places.socket, charter.KEY_ID, holders, charter.THRESHOLD)
        listed = charter.whole(public_key, engine="mpc")
    elif variant.engine == "safe":
        listed = _safe(node_url, packages, {name: keys[name]["secp256k1"] for name in cosigners})
        fund(node_url, deployment, listed[1]["address"], usdc=0, ether=TREASURY_ETHER)
    else:
        listed = charter.whole(keys[charter.COSIGNER]["secp256k1"])
    keys |= {name: {"ed25519": _witness(places.root(name), name)} for name in WITNESSES}
    sender = address_of(bytes.fromhex(keys[ANCHOR]["secp256k1"]))
    fund(node_url, deployment, sender, usdc=0, ether=ANCHOR_ETHER)
    kept_by = _recovery(places) if variant.recovery else {}
    places.officers.mkdir(mode=0o700)
    treasury = str(listed[0]["address"])
    fund(node_url, deployment, treasury, usdc=TREASURY_USDC, ether=TREASURY_ETHER)
    made = charter.files(
        people=charter.enrol(places.officers, second_key=variant.second_key),
        keys=listed,
        deployment=deployment,
        code=_code_hashes(node_url, deployment, charter.batches(listed)),
        now=now,
        limits=variant.limits,
        engine=variant.engine,
        recovery=charter.recovery(kept_by) if kept_by else (),
    )
    login, approval = at_free_port(charter.LOGIN), at_free_port(charter.APPROVAL)
    policy = charter.signed(made, officers=places.officers, version=1, previous=None, now=now, party=approval)
    nodes = variant.nodes(node_url)
    clocks = {name: clock.authority for name, clock in variant.clocks.items()}
    document = _trust_root(keys, cosigners, policy, deployment, sender)
    document |= {
        "aaguids": [*document["aaguids"], *variant.admitted],
        "node_quorum": len(nodes) // 2 + 1,
        "observers": {name: keys[name]["ed25519"] for name in observers},
        "observer_quorum": variant.observer_quorum,
        "login": login.dump(),
        "approval": approval.dump(),
        "console": charter.CONSOLE.dump(),
    }
    trust_root = TrustRoot.load({**document, "timestamp": clocks} if clocks else document)
    places.trust_root.write_bytes(trust_root.canonical())
    _open_ledger(places, trust_root, policy, now)
    keep_policy(places, policy)
    _configure(places, keys, packages, node_url, trust_root=trust_root, nodes=nodes, variant=variant)
    return World(
        places=places,
        deployment=deployment,
        trust_root=trust_root,
        policy=policy,
        treasury=treasury,
        packages=packages,
        jails=_jails(places, cosigners) if variant.jailed else {},
    )


def _recovery(places: Places) -> dict[str, dict[str, str]]:
    """Make each recovery officer's token and pair; return the public halves."""
    halves = {}
    for name in charter.KEEPS:
        made = provision(places.root(name), name, recovery="recovery/1")
        config = {
            "name": name,
            "sealing_key": made["recovery"],
            "token": configured(name, made["serial"]),
        }
        (places.root(name) / "config.json").write_text(json.dumps(config, indent=1))
        mechanism = made["recovery"].partition(":")[0]
        halves[name] = {"mechanism": mechanism, "modulus": made["modulus"]}
    return halves


def _wholes(variant: charter.Variant) -> dict[str, str]:
    """Return the whole keys that co-signers have, by what they are labelled."""
    if variant.engine == "safe":
        return {name: f"owner/{name}" for name in charter.COSIGNERS} | {charter.EXECUTOR: "carrier/1"}
    return {charter.COSIGNER: "treasury/1"} if variant.engine == "hsm" else {}


def _safe(node_url: str, packages: Path, points: Mapping[str, str]) -> list[dict[str, Any]]:
    """Make a Safe whose owners are all these co-signers but one, its executor; return both keys."""
    owners = {name: points[name] for name in charter.COSIGNERS}
    addresses = [address_of(bytes.fromhex(each)) for each in owners.values()]
    node = Node(node_url)
    try:
        contracts = safe.deploy(node, packages)
        pinned = safe.open_safe(node, contracts, owners=addresses, threshold=charter.THRESHOLD)
    finally:
        node.close()
    return charter.owned(pinned, owners, points[charter.EXECUTOR])


def at_free_port(party: RelyingParty) -> RelyingParty:
    """Return the party at a port that nobody listens on."""
    return RelyingParty(id=party.id, origin=f"{party.origin.rpartition(':')[0]}:{free_port()}")


def free_port() -> int:
    """Return a port of the loopback address that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def keep_policy(places: Places, policy: PolicySet) -> None:
    """Put a signed set where the service finds it."""
    places.policies.mkdir(mode=0o700, exist_ok=True)
    path = places.policies / f"{policy.manifest.version:06d}.json"
    path.write_bytes(canonical(policy.dump(), limit=2**22))


def _witness(folder: Path, name: str) -> str:
    folder.parent.mkdir(mode=0o700, exist_ok=True)
    witness.found(folder, origin=ORIGIN, name=name)
    return signer.create_file(folder / "key.pem").hex()


def _trust_root(
    keys: dict[str, dict[str, str]],
    cosigners: Sequence[str],
    policy: PolicySet,
    deployment: Deployment,
    sender: str,
) -> dict[str, Any]:
    witnesses = (*cosigners, WATCHER, *WITNESSES)
    return {
        "v": 1,
        "profile": "demo",
        "ledger_id": secrets.token_hex(16),
        "chain_id": deployment.chain_id,
        "origin": ORIGIN,
        "checkpoint_keys": {SERVICE: keys[SERVICE]["ed25519"]},
        "witnesses": {name: keys[name]["ed25519"] for name in witnesses},
        "witness_quorum": len(witnesses) - WITNESS_FAULTS[len(witnesses)],
        "cosigners": {name: keys[name]["ed25519"] for name in cosigners},
        "watcher": keys[WATCHER]["ed25519"],
        "aaguids": [UNSAFE_AAGUID, VIRTUAL_AAGUID],
        "genesis_policy": policy.digest,
        "anchor": {
            "chain_id": deployment.chain_id,
            "contract": address_bytes(deployment.anchor).hex(),
            "sender": address_bytes(sender).hex(),
        },
    }


def _code_hashes(node_url: str, deployment: Deployment, more: Sequence[str]) -> dict[str, str]:
    node = Node(node_url)
    try:
        header = node.head()
        return {
            address: proven_account(node, header, address).account.code_hash.hex()
            for address in (deployment.router, deployment.usdc, *more)
        }
    finally:
        node.close()


def _open_ledger(places: Places, trust_root: TrustRoot, policy: PolicySet, now: datetime) -> None:
    genesis = {
        "v": 1,
        "ledger_id": trust_root.ledger_id,
        "created": now.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "trust_root": trust_root.digest,
    }
    path = places.root(SERVICE) / "ledger.duckdb"
    store.open(path, now=lambda: now, salt=lambda: secrets.token_bytes(32), genesis=genesis).close()
    for name in (*trust_root.cosigners, WATCHER, ANCHOR):
        (places.root(name) / "genesis.json").write_bytes(canonical(genesis))
    for name in (*trust_root.cosigners, WATCHER):
        witness.found(places.root(name) / "witness", origin=trust_root.origin, name=name)
    for name in trust_root.cosigners:
        root = places.root(name)
        memory.found(root, genesis_hash=Genesis.of(genesis).hash())
        blocks.found(root)
        orders.found(root)
    watching.found(places.root(WATCHER), policy)


def _configure(
    places: Places,
    keys: dict[str, dict[str, str]],
    packages: Path,
    node_url: str,
    *,
    trust_root: TrustRoot,
    nodes: Mapping[str, str],
    variant: charter.Variant,
) -> None:
    configs: dict[str, dict[str, Any]] = {
        SERVICE: {
            "accounts": {},
            "checkpoint_key": keys[SERVICE]["ed25519"],
            "cosigners": {name: str(places.socket(name)) for name in trust_root.cosigners},
            "observers": {name: str(places.socket(name)) for name in trust_root.observers},
            "anchor": str(places.socket(ANCHOR)),
            "anchor_every_s": ANCHOR_EVERY_S,
            "timestamp": {name: clock.url for name, clock in variant.clocks.items()},
            "timestamp_every_s": TIMESTAMP_EVERY_S,
            "watcher": str(places.socket(WATCHER)),
            "witnesses": {
                **{name: f"frames:{places.socket(name)}" for name in (*trust_root.cosigners, WATCHER)},
                **{name: f"unix:{places.socket(name)}" for name in WITNESSES},
            },
        },
        ANCHOR: {"gas_key": keys[ANCHOR]["secp256k1"], "node": node_url, "peers": []},
        WATCHER: {
            "cosigners": {name: str(places.socket(name)) for name in trust_root.cosigners},
            "identity_key": keys[WATCHER]["ed25519"],
            "lease_every_s": LEASE_EVERY_S,
            "lease_ttl_s": LEASE_TTL_S,
            "peers": [],
        },
    }
    for name in trust_root.cosigners:
        configs[name] = {
            "identity_key": keys[name]["ed25519"],
            "name": name,
            "peers": [os.geteuid()] if variant.jailed and os.geteuid() == 0 else [],
            "sealing_key": keys[name].get("sealing"),
        }
    for name in trust_root.observers:
        configs[name] = {
            "anvil": str(anvil_binary(packages)),
            "feeds": [],
            "identity_key": keys[name]["ed25519"],
            "name": name,
            "nodes": dict(nodes),
            "peers": [],
            "relay": {"url": variant.relay, "key": keys[name]["secp256k1"], "hints": []}
            if variant.relay
            else None,
        }
    for name, config in configs.items():
        path = places.root(name) / "config.json"
        token = configured(name, keys[name]["serial"])
        path.write_text(json.dumps({"token": token, **config}, indent=1))
    places.root(APPROVER).mkdir(mode=0o700)
    page = {**dict.fromkeys(NO_FILES), "service": str(places.socket(SERVICE))}
    (places.root(APPROVER) / "config.json").write_text(json.dumps(page, indent=1))


def _jails(places: Places, cosigners: Sequence[str]) -> dict[str, Jail]:
    """Return how each co-signer is started shut in; what is its own is its own user's, where root says so."""
    uids = range(USER_FIRST, USER_FIRST + len(cosigners)) if os.geteuid() == 0 else [None] * len(cosigners)
    made = {}
    for name, uid in zip(cosigners, uids, strict=True):
        state, sockets = places.root(name), places.socket(name).parent
        made[name] = Jail(state=state, sockets=sockets, readable=(places.trust_root,), uid=uid)
        if uid is not None:
            for folder in (state, sockets):
                _give(folder, uid)
            # its socket gets the folder's group: the service may come in, and nobody else
            os.chown(sockets, uid, os.getegid())
            sockets.chmod(0o2750)
    return made


def _give(root: Path, uid: int) -> None:
    for path in (root, *root.rglob("*")):
        os.chown(path, uid, uid, follow_symlinks=False)
