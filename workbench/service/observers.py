"""The observers: asked until as many tell the same as the trust root demands.

(1) The first that answers leads, and with it the block that it is about; others attest that block, or
    simulate on it. If too few follow, the next one leads: who lies or lags keeps nobody from the truth.
(2) An answer counts when the observer that was asked has signed it and when it tells what the lead tells. Who
    answers otherwise is named to whoever keeps the record; who is away is passed over.
(3) Where a transaction stands is told by as many as that: in one block, or in none. While they differ there
    is no answer, and what was recorded stays.
(4) Quotes are each observer's own, and none has to be the same as another's. For a decision those are taken
    that come to a price together, by the rules of whoever decides; if none do, the first are told as they
    are, and the rules say what is wrong with them.
(5) What convinces by itself is asked of one after the other, until it does: ways between blocks, proofs.
(6) Bytes are sent by all: one that says so and does not would keep them from the chain. Once one has sent
    them, those that were late are given them, too, and hardly waited for.
(7) One that was silent or slow comes last for a while: waiting for it each time would let facts grow old. One
    that is away at once, as while it starts again, costs no time and keeps its place.

Nothing here is believed for being counted: whoever relies on a statement verifies all of them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from eth_hash.auto import keccak

from workbench.process.frames import FrameError, call
from workbench.rules import attestation, confirmation
from workbench.rules.allowances import ALLOWANCES_LINE, AllowancesQuestion
from workbench.rules.attestation import HEADER_LINE, SIMULATION_LINE, AttestedState, Block, Statement
from workbench.rules.codes import Refusal, RefusedError
from workbench.rules.confirmation import Inclusion
from workbench.rules.descent import Descent, Seen, check_ways
from workbench.rules.price_feed import QUOTES_LINE, PriceQuestion
from workbench.rules.storage import AttestedStorage, PoolQuestion, SafeQuestion
from workbench.rules.trust import TrustRoot

OBSERVER_SECONDS = 60.0
"""A simulation may start a fork; a loaded machine needs seconds for it."""
SLOW_SECONDS = 20.0
LATE_SECONDS = 600.0
LATE_WAIT_SECONDS = 2.0
NOT_MINED = frozenset({"pending", "unknown"})

Answer = dict[str, Any]
Notice = Callable[[str, str, RefusedError], None]
"""Who answers otherwise, whom it was to follow (or itself), and in what."""
CODES = {"simulation": Refusal.SIMULATION_FAILED, "block": Refusal.PROOF}
"""What an observer's own refusal is to us; anything else is `unavailable`."""
Alike = Callable[[Sequence[Statement]], None]
"""Refuses statements that are of no use, alone or together."""
T = TypeVar("T")


def unnoticed(_name: str, _lead: str, _refused: RefusedError) -> None:
    """Keep no record of who answers otherwise."""


@dataclass(frozen=True, slots=True)
class Observers:
    """Sockets of the observers by name, in the order in which they lead."""

    sockets: Mapping[str, Path]
    trust_root: TrustRoot
    notice: Notice = unnoticed
    _late: dict[str, float] = field(default_factory=dict, init=False)
    """When each was late, by this process's clock."""

    def attest(self, accounts: Sequence[str]) -> list[AttestedState]:
        """Ask for the newest header, with proofs of these accounts beside the first attestation of it."""
        return self._agreed(
            lambda name: self._state(
                name, {"operation": "attest", "accounts": list(accounts), "block": None}
            ),
            self._same_block,
        )

    def pool(self, question: PoolQuestion) -> list[AttestedStorage]:
        """Ask for the newest header, with proofs of what a swap in a pool depends on beside the first."""
        return self._stored({"operation": "pool", **question.dump()})

    def _stored(self, request: Answer) -> list[AttestedStorage]:
        def first(name: str) -> AttestedStorage:
            found = AttestedStorage.load(self._ask(name, request))
            self._check(name, found.attestation, HEADER_LINE)
            return found

        def also(name: str, lead: AttestedStorage) -> AttestedStorage:
            return AttestedStorage.load({**self._same_block(name, lead).dump(), "slots": []})

        return self._agreed(first, also)

    def safe(self, question: SafeQuestion) -> list[AttestedStorage]:
        """Ask for the newest header, with proofs of what a Safe holds beside the first attestation of it."""
        return self._stored({"operation": "safe", **question.dump()})

    def prices(self, question: PriceQuestion, alike: Alike | None = None) -> list[Statement]:
        """Ask what each source says of a pair, each observer once (4)."""
        pair = question.dump()
        asked: dict[str, Statement | RefusedError] = {}

        def quoted(name: str) -> Statement:
            if name not in asked:
                asked[name] = self._quoted(name, pair)
            told = asked[name]
            if isinstance(told, RefusedError):
                raise told
            return told

        if alike is not None:
            with suppress(RefusedError):
                return self._agreed(
                    lambda name: _fitting(alike, quoted(name)),
                    lambda name, lead: _fitting(alike, lead, quoted(name)),
                )
        return self._agreed(quoted, lambda name, _: quoted(name))

    def _quoted(self, name: str, pair: Answer) -> Statement | RefusedError:
        try:
            told = self._statement(name, {"operation": "prices", **pair}, QUOTES_LINE)
            _answers(told, pair)
        except RefusedError as refused:
            return refused
        return told

    def allowances(self, question: AllowancesQuestion) -> list[Statement]:
        """Ask what others may take from accounts."""
        asked = question.dump()

        def listed(name: str) -> Statement:
            told = self._statement(name, {"operation": "allowances", **asked}, ALLOWANCES_LINE)
            _answers(told, {"asked": asked})
            return told

        return self._agreed(listed, lambda name, _: listed(name))

    def simulate(
        self, step: int, transactions: Sequence[Mapping[str, Any]], target: int, accounts: Sequence[str]
    ) -> list[Statement]:
        """Ask what a sequence of transactions would do to these accounts, told for one of them."""
        request = {
            "operation": "simulate",
            "step": step,
            "transactions": [dict(each) for each in transactions],
            "target": target,
            "accounts": list(accounts),
        }

        def also(name: str, lead: Statement) -> Statement:
            block = lead.document.get("block")
            told = self._statement(name, {**request, "block": block}, SIMULATION_LINE)
            attestation.check_same_simulation(lead, told)
            return told

        return self._agreed(
            lambda name: self._statement(name, {**request, "block": None}, SIMULATION_LINE), also
        )

    def finality(self) -> dict[str, list[AttestedState]]:
        """Ask which blocks are safe, and finalized."""

        def first(name: str) -> dict[str, AttestedState]:
            answer = self._ask(name, {"operation": "finality"})
            told = {tag: AttestedState.load(answer.get(tag)) for tag in ("safe", "finalized")}
            for state in told.values():
                self._check(name, state.attestation, HEADER_LINE)
            return told

        def also(name: str, lead: dict[str, AttestedState]) -> dict[str, AttestedState]:
            told = first(name)
            for tag, state in told.items():
                if _block(state) != _block(lead[tag]):
                    # each has its own moment of learning it: this is no lie
                    raise RefusedError(Refusal.UNAVAILABLE, f"another block is {tag}")
            return told

        agreed = self._agreed(first, also)
        return {tag: [each[tag] for each in agreed] for tag in ("safe", "finalized")}

    def confirm(self, tx_hash: str) -> tuple[str, Inclusion | None]:
        """Ask what became of a transaction (3): where it is, with the word of each for that block."""
        mined: dict[str, list[Inclusion]] = {}
        waiting: list[str] = []
        reasons: dict[str, RefusedError] = {}
        for name in self._in_turn():
            try:
                answer = self._ask(name, {"operation": "confirm", "tx_hash": tx_hash})
                if (status := str(answer.get("status"))) in NOT_MINED:
                    waiting.append(status)
                else:
                    where, inclusion = self._included(name, answer, tx_hash)
                    mined.setdefault(where, []).append(inclusion)
            except RefusedError as refused:
                self._note(reasons, name, name, refused)
            for told in mined.values():
                if len(told) >= self._quorum:
                    signed = [each.attestations[0] for each in told]
                    return told[0].status, told[0].model_copy(update={"attestations": signed})
            if len(waiting) >= self._quorum:
                return "pending" if "pending" in waiting else "unknown", None
        away = [f"{name}: {refused.detail}" for name, refused in reasons.items()]
        said = [
            f"{len(waiting)} in no block",
            *(f"{len(told)} in block {block}" for block, told in mined.items()),
        ]
        raise RefusedError(Refusal.UNAVAILABLE, f"observers differ: {'; '.join([*said, *away])}"[:500])

    def broadcast(self, raw_tx: str, *, by: str, last_block: int | None) -> None:
        """Have signed bytes sent, by nodes or by relays until a block (6); one is enough."""
        request = {"operation": "broadcast", "raw": raw_tx, "by": by, "last_block": last_block}
        reasons: dict[str, RefusedError] = {}
        tx_hash, sent = keccak(bytes.fromhex(raw_tx)).hex(), False
        for name in self._in_turn():
            seconds = LATE_WAIT_SECONDS if sent and self._is_late(name) else OBSERVER_SECONDS
            try:
                self._done(name, request, tx_hash, seconds)
                sent = True
            except RefusedError as refused:
                self._note(reasons, name, name, refused)
        if not sent:
            raise self._too_few(reasons)

    def recall(self, tx_hash: str) -> None:
        """Have the relays forget bytes: each forgets for its own sender only, so that all are asked."""
        reasons: dict[str, RefusedError] = {}
        for name in self.sockets:
            try:
                self._done(name, {"operation": "recall", "tx_hash": tx_hash}, tx_hash, OBSERVER_SECONDS)
            except RefusedError as refused:
                self._note(reasons, name, name, refused)
        if reasons:
            raise next(iter(reasons.values()))

    def descent(self, state: AttestedState, seen: Seen) -> list[Descent]:
        """Ask for the ways from a state's block down to those below it that a co-signer has seen (5)."""
        block, (header, _) = _block(state), attestation.verify_proofs(state)
        known = [each.number for each in (seen.final, seen.newer) if each is not None]
        ancestors = [number for number in known if number < block.number]
        if not ancestors:
            return []
        request = {"operation": "descent", "number": block.number, "hash": block.hash, "ancestors": ancestors}

        def ways(name: str) -> list[Descent]:
            found = [Descent.load(each) for each in _list(self._ask(name, request), "descent")]
            check_ways(seen, found, header)
            return found

        return self._any(ways)

    def node_events(self, name: str, run: str, after: int) -> tuple[str, list[Statement]]:
        """Ask one what happened to its nodes behind a number of a run; return its present run, too."""
        answer = self._ask(name, {"operation": "events", "run": run, "after": after})
        return str(answer.get("run")), [Statement.load(each) for each in _list(answer, "events")]

    def _in_turn(self) -> list[str]:
        """Return the names in the order in which they lead (7)."""
        return sorted(self.sockets, key=self._is_late)

    def _is_late(self, name: str) -> bool:
        return name in self._late and time.monotonic() - self._late[name] < LATE_SECONDS

    @property
    def _quorum(self) -> int:
        return self.trust_root.observer_quorum

    def _agreed(self, first: Callable[[str], T], also: Callable[[str, T], T]) -> list[T]:
        """Have one lead and others follow (1) (2)."""
        reasons: dict[str, RefusedError] = {}
        for lead in self._in_turn():
            try:
                told = [first(lead)]
            except RefusedError as refused:
                self._note(reasons, lead, lead, refused)
                continue
            for name in [each for each in self._in_turn() if each != lead]:
                if len(told) >= self._quorum:
                    break
                try:
                    told.append(also(name, told[0]))
                except RefusedError as refused:
                    self._note(reasons, name, lead, refused)
            if len(told) >= self._quorum:
                return told
        raise self._too_few(reasons)

    def _any(self, asked: Callable[[str], T]) -> T:
        """Ask one after the other (5)."""
        reasons: dict[str, RefusedError] = {}
        for name in self._in_turn():
            try:
                return asked(name)
            except RefusedError as refused:
                self._note(reasons, name, name, refused)
        raise self._too_few(reasons)

    def _note(self, reasons: dict[str, RefusedError], name: str, lead: str, refused: RefusedError) -> None:
        if refused.code not in (Refusal.UNAVAILABLE, Refusal.SIMULATION_FAILED):
            self.notice(name, lead, refused)
        reasons[f"{name} after {lead}" if name != lead else name] = refused

    def _too_few(self, reasons: Mapping[str, RefusedError]) -> RefusedError:
        """Return the one reason of all of them, or that there are too few."""
        codes = {refused.code for refused in reasons.values()}
        code = codes.pop() if len(codes) == 1 else Refusal.UNAVAILABLE
        told = "; ".join(f"{name}: {refused.detail}" for name, refused in reasons.items())
        return RefusedError(code, f"{self._quorum} observers must tell the same: {told}"[:500])

    def _state(self, name: str, request: Answer) -> AttestedState:
        found = AttestedState.load(self._ask(name, request))
        self._check(name, found.attestation, HEADER_LINE)
        attestation.verify_proofs(found)
        return found

    def _same_block(self, name: str, lead: AttestedState) -> AttestedState:
        """Ask another to attest the block of the first; one proof of each account is enough."""
        block = _block(lead)
        found = self._state(name, {"operation": "attest", "accounts": [], "block": block.dump()})
        if _block(found) != block:
            raise RefusedError(Refusal.PROOF, f"attests another block than {_written(block)}")
        return found

    def _statement(self, name: str, request: Answer, line: str) -> Statement:
        found = Statement.load(self._ask(name, request))
        self._check(name, found, line)
        return found

    def _included(self, name: str, answer: Answer, tx_hash: str) -> tuple[str, Inclusion]:
        """Return an inclusion that is what was asked for and proves itself, and its block."""
        shown = {field: value for field, value in answer.items() if field != "attestation"}
        inclusion = Inclusion.load({**shown, "attestations": [answer.get("attestation")]})
        self._check(name, inclusion.attestations[0], HEADER_LINE)
        confirmed = confirmation.verify_shown(inclusion)
        if keccak(bytes.fromhex(inclusion.raw)).hex() != tx_hash:
            raise RefusedError(Refusal.BYTES_OTHER, f"shows other bytes than {tx_hash}", path="/raw")
        return f"{confirmed.block_number} {confirmed.block_hash}", inclusion

    def _done(self, name: str, request: Answer, tx_hash: str, seconds: float) -> None:
        """Have one do something with bytes, of which it tells the hash."""
        if self._ask(name, request, seconds).get("tx_hash") != tx_hash:
            raise RefusedError(Refusal.MALFORMED, f"does not say that it did it with {tx_hash}")

    def _check(self, name: str, statement: Statement, line: str) -> None:
        if statement.observer != name:
            raise RefusedError(Refusal.OBSERVER_UNKNOWN, f"{name} answers as {statement.observer}")
        attestation.verify_signed(statement, line, self.trust_root)

    def _ask(self, name: str, request: Answer, seconds: float | None = None) -> Answer:
        begun, most = time.monotonic(), OBSERVER_SECONDS if seconds is None else seconds
        try:
            answer = call(self.sockets[name], {"v": 1, **request}, timeout_s=most)
        except FrameError as error:
            raise RefusedError(Refusal.UNAVAILABLE, str(error)) from error
        finally:
            if time.monotonic() - begun >= min(most, SLOW_SECONDS):
                self._late[name] = begun
        result = answer.get("result")
        if not isinstance(result, dict):
            failed = answer.get("error")
            told = failed if isinstance(failed, dict) else {}
            # a transaction that cannot be simulated will not do better when asked again
            code = CODES.get(str(told.get("code")), Refusal.UNAVAILABLE)
            raise RefusedError(code, f"observer: {told.get('detail')}"[:500])
        return result


def _fitting(alike: Alike, *told: Statement) -> Statement:
    alike(told)
    return told[-1]


def _block(state: AttestedState) -> Block:
    told = attestation.HeaderAttestation.load(state.attestation.document).block
    return Block(number=told.number, hash=told.hash)


def _answers(told: Statement, question: Mapping[str, Any]) -> None:
    if any(told.document.get(name) != value for name, value in question.items()):
        raise RefusedError(Refusal.FACT_MISSING, "an answer to another question")


def _written(block: Block) -> str:
    return f"{block.number} {block.hash}"


def _list(answer: Answer, field: str) -> list[Any]:
    found = answer.get(field)
    if not isinstance(found, list):
        raise RefusedError(Refusal.UNAVAILABLE, f"observer: no list of {field}")
    return found
