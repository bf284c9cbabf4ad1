"""`workbench demo`: the worked example from proposal to verified evidence, in one command.

(1) a chain with NewSwap, a world on it, its processes; (2) the officers as processes of
their own; (3) the committee notebook, run by papermill as the portfolio manager; (4) the
bundle, verified by `python -m ledger` with nothing but the trust root; (5) the report.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench import client
from workbench.demo import charter, newswap
from workbench.demo import node as chain
from workbench.demo.people import Officer
from workbench.demo.stack import Stack
from workbench.demo.world import SERVICE, Places, World, build
from workbench.process.jail import impossible
from workbench.runner import notebook

CHECKOUT = Path(__file__).resolve().parents[2]
PACKAGES = CHECKOUT / "binder" / "node_modules"
NOTEBOOK = CHECKOUT / "notebooks" / "committee" / "newswap.ipynb"
OFFICERS = (("pm-1", "login", ""), ("cro-1", "decide", "cro"), ("risk-1", "decide", "risk_officer"))
VERIFY_S = 120


class UnsoundError(Exception):
    """The run's own ledger does not verify."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a run leaves behind."""

    intents: Sequence[tuple[str, str, str]]
    report: Path
    bundle: Path
    trust_root: Path
    size: int
    h: str
    verification: str


@contextmanager
def living_world(
    folder: Path, *, variant: charter.Variant = charter.TEMPLATE_ONLY
) -> Iterator[tuple[World, Stack]]:
    """Build a world in an empty folder and run its processes and chain until the block ends."""
    state, deployment = newswap.prepared(PACKAGES, newswap.cache_folder())
    with ExitStack() as ends:
        # sockets need short paths (108 bytes), which a state folder does not promise
        runtime = Path(ends.enter_context(tempfile.TemporaryDirectory(prefix="wb-")))
        anvil = ends.enter_context(chain.start(PACKAGES, state=state))
        world = build(
            Places(folder, runtime),
            packages=PACKAGES,
            deployment=deployment,
            node_url=anvil.url,
            variant=variant,
        )
        yield world, ends.enter_context(Stack(world))


def can_jail() -> bool:
    """Whether this machine starts co-signers shut in; says why not."""
    why = impossible()
    if why is not None:
        print(f"co-signers are not shut in, as their status says: {why}", file=sys.stderr)
    return why is None


def demo(folder: Path) -> Outcome:
    """Run the worked example in an empty folder."""
    with living_world(folder, variant=charter.Variant(jailed=can_jail())) as (world, _), officers(world):
        places = world.places
        report = notebook.run(
            NOTEBOOK,
            folder / "reports",
            {
                "socket": str(places.socket(SERVICE)),
                "person": "pm-1",
                "market": market(world),
                "trust_root": str(places.trust_root),
            },
        )
        auditor = Officer.log_in(
            "auditor-1",
            folder=places.officers,
            socket=places.socket(SERVICE),
            policy=world.policy,
            trust_root=world.trust_root,
        ).speaks
        intents = [_line(auditor, digest) for digest, _ in auditor.intents()]
        bundle = auditor.bundle()
        head = auditor.head()
    verification = verify(bundle, places.trust_root)
    return Outcome(
        intents=intents,
        report=report,
        bundle=bundle,
        trust_root=places.trust_root,
        size=head.size,
        h=head.h,
        verification=verification,
    )


@contextmanager
def officers(world: World) -> Iterator[None]:
    """Run the demo's people as processes of their own."""
    places = world.places
    common = ["--folder", str(places.officers), "--socket", str(places.socket(SERVICE))]
    common += ["--trust-root", str(places.trust_root), "--policies", str(places.policies)]
    started = []
    with (places.state / "officers.log").open("ab") as log:
        for person, duty, role in OFFICERS:
            command = [sys.executable, "-m", "workbench.demo.officer", "--person", person, "--duty", duty]
            started.append(subprocess.Popen([*command, "--role", role, *common], stdout=log, stderr=log))
    try:
        yield
    finally:
        for process in started:
            process.terminate()
            process.wait(VERIFY_S)


def market(world: World) -> dict[str, Any]:
    """Return the pool and the key as the notebook's parameter."""
    deployment = world.deployment
    return {
        "chain_id": deployment.chain_id,
        "key": charter.KEY_ID,
        "account": world.treasury,
        "router": deployment.router,
        "token_in": deployment.usdc,
        "token_out": deployment.weth,
        "decimals_in": 6,
        "decimals_out": 18,
        "pool_fee": deployment.fee,
    }


def verify(bundle: Path, trust_root: Path) -> str:
    """Verify a bundle as an auditor does: another process, nothing but the trust root."""
    command = [sys.executable, "-m", "ledger", "verify", str(bundle), "--keys", str(trust_root)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=VERIFY_S)
    if done.returncode != 0:
        raise UnsoundError(f"the ledger does not verify: {done.stdout}{done.stderr}")
    return done.stdout.strip()


def _line(auditor: client.Client, digest: str) -> tuple[str, str, str]:
    view = auditor.intent(digest)
    return view.intent.purpose, view.state, view.tx_hash or ""
