"""A service in the wrong hands: its own code, ledger, token and links, opened here, and nobody's rules.

The genuine process is killed; what it recorded, and what people told it, is genuine. Co-signers, watcher and
observers are the processes that they were.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from tests.e2e.test_watcher import pause, release, remembers, until
from tests.hsm import no_token_open
from tests.world import Living
from workbench.client import ProblemError
from workbench.demo import charter
from workbench.demo.world import SERVICE
from workbench.evm.transaction import UnsignedTransaction
from workbench.rules.decision import Decision
from workbench.rules.fees import Fees
from workbench.rules.intent import Intent
from workbench.rules.lifecycle import Event
from workbench.service import bringing, looking, releasing
from workbench.service.__main__ import _desk as open_desk
from workbench.service.books import Matter
from workbench.service.courier import Courier
from workbench.service.desk import Desk

KEY = charter.KEY_ID
NAMES = charter.COSIGNERS
GWEI = 10**9
UNHURRIED = {"attestation_age_s_max": 900, "simulation_age_s_max": 900}
DAY_USD = 150_000
LIMITS = {**UNHURRIED, "daily_usd_cents_max": 100 * DAY_USD}
Said = dict[str, Any]


@dataclass(slots=True)
class TakenOver:
    """What a liar can do with the service's desk."""

    world: Living
    desk: Desk

    def matter(self, digest: str) -> Matter:
        """Return what the ledger has of an intent."""
        return self.desk.lane.books.matter(digest)

    def look(self, digest: str) -> None:
        """Have the genuine observers look at an intent once more, for its signature."""
        releasing.simulate(
            self.desk.lane, digest, step=4, purpose="signing", sequence=[digest], actor=SERVICE
        )

    def unsigned(self, digest: str, *, nonce: int | None = None, gwei: int = 40) -> UnsignedTransaction:
        """Return an intent's bytes."""
        matter = self.matter(digest)
        at = matter.nonce if nonce is None else nonce
        assert at is not None
        fees = Fees(max_fee_per_gas=gwei * GWEI, max_priority_fee_per_gas=GWEI)
        return matter.proposal.intent.transaction(at, fees)

    def evidence(self, name: str, digest: str, unsigned: UnsignedTransaction | None = None) -> Said:
        """Return what the genuine service would bring to a co-signer, over what the ledger has by now."""
        lane = self.desk.lane
        brought = unsigned or self.unsigned(digest)
        known = looking.attestations(lane, self.matter(digest), "sign")
        return bringing.evidence(
            lane, digest, name, "sign", unsigned=brought, ground=bringing.ground(lane), attestations=known
        )

    def reserved(self, name: str, digest: str, nonce: int, *presses: tuple[str, str]) -> Said:
        """Record a second reservation, for another nonce, and have people approve under that, too."""
        lane, matter = self.desk.lane, self.matter(digest)
        assert matter.reservation_seq is not None
        before = next(lane.recorder.ledger.entries(matter.reservation_seq, matter.reservation_seq)).data
        assert before is not None
        receipt = lane.recorder.append(
            Event.RESERVED.value,
            f"{digest}-{nonce}",
            before | {"nonce": nonce},
            actor=SERVICE,
            subject=digest,
        )
        evidence = self.evidence(name, digest, self.unsigned(digest, nonce=nonce))
        size = int(evidence["head"]["checkpoint"].split("\n")[1])
        evidence["reservation"] = bringing.entry_proof(lane, receipt.seq, size)
        evidence["decisions"] = [
            self.decision(evidence["decisions"][0]["decision"], person=person, role=role, nonce=nonce)
            for person, role in presses
        ]
        return evidence

    def decision(self, before: Said, **changes: Any) -> Said:
        """Return a decision with fields changed, really signed by the person it names."""
        decision = Decision.load(before | changes)
        return self.world.officer(decision.person).sign(decision).dump()

    def ask(self, name: str, request: Said) -> Said:
        """Bring something to a co-signer."""
        return self.desk.lane.links.ask(name, request)

    def signs(self, intent: str, names: Sequence[str]) -> dict[str, Said]:
        """Carry a run between some; return what it came to, or raise StepError."""
        numbers = {name: NAMES.index(name) + 1 for name in names}
        with ThreadPoolExecutor(len(numbers)) as pool:
            return Courier(self.ask, pool, numbers).carry(
                {"v": 1, "operation": "open", "intent": intent, "signers": sorted(numbers.values())},
                {"v": 1, "operation": "take", "key": KEY},
            )

    def refuses(self, name: str, evidence: Said, step: int, code: str) -> None:
        """Bring evidence: it is refused so, opens no run, and nothing of it is remembered."""
        before = memory(self.world, name)
        answer = self.ask(name, evidence)["answer"]
        assert answer["refused"] is not None, f"{name} does not refuse"
        refused = answer["refused"]
        assert (refused["step"], refused["code"]) == (step, code), f"{name}: {refused}"
        assert (answer["raw_tx"], answer["signature"]) == (None, None)
        opening = {"v": 1, "operation": "open", "intent": evidence["intent"], "signers": self._three(name)}
        assert self.ask(name, opening)["refused"]["code"] == "run_not_as_agreed"
        assert memory(self.world, name) == before

    @staticmethod
    def _three(name: str) -> list[int]:
        mine = NAMES.index(name) + 1
        return sorted({mine, *[number for number in (4, 5, 1) if number != mine][:2]})


def memory(world: Living, name: str) -> dict[int, Said]:
    """Return what a co-signer remembers of the key, by nonce: intent, amount, and bytes."""
    folder = world.world.places.root(name) / "signed"
    records = [json.loads(path.read_text()) for path in folder.iterdir()]
    return {each["nonce"]: each for each in records}


def remembered(world: Living, name: str) -> dict[int, tuple[str, int]]:
    """Return intents and what they weigh, in cents, by nonce."""
    return {nonce: (each["intent"], each["usd_cents"]) for nonce, each in sorted(memory(world, name).items())}


def approved(
    world: Living, intents: Mapping[str, Intent], *, person: str = "risk-1", role: str = "risk_officer"
) -> dict[str, str]:
    """Have a person approve intents while the key is paused: nothing is signed. Return their digests."""
    # who signs later on is logged in while there is a service that logs people in
    for officer in ("risk-1", "cro-1", "committee-1"):
        world.officer(officer)
    pause(world, f"key:{KEY}")
    for name in NAMES:
        until(lambda name=name: bool(remembers(world, name).paused))
    digests = {}
    for name, intent in intents.items():
        digests[name] = world.outstanding(intent).digest
        with suppress(ProblemError):
            world.approve(digests[name], person=person, role=role)
        assert world.pm.intent(digests[name]).decisions
    return digests


@contextmanager
def taken_over(world: Living) -> Iterator[TakenOver]:
    """Kill the service, release the key past it, and open its desk here."""
    world.stack.kill(SERVICE)
    release(world, f"key:{KEY}")
    for name in NAMES:
        until(lambda name=name: not remembers(world, name).paused)
    places = world.world.places
    options = argparse.Namespace(
        state=places.root(SERVICE), trust_root=places.trust_root, testing_only_crash_at=None
    )
    no_token_open()
    desk, *_ = open_desk(options)
    try:
        yield TakenOver(world, desk)
    finally:
        desk.lane.recorder.close()


def mined(world: Living, raw_tx: str) -> None:
    """Send signed bytes past everybody."""
    before, chain = world.transactions(), world.chain()
    chain.call("eth_sendRawTransaction", "0x" + raw_tx)  # JSON-RPC's own form
    chain.close()
    assert world.transactions() == before + 1
