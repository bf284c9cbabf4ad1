"""Operations on keys, from the officers' signatures to the last word of a co-signer: carried, and recorded.

(a) An operation is recorded once its quorum was verified; the entry is what co-signers look for.
(b) Each co-signer that takes part is asked over the same head; when all allow it, the run is carried.
(c) When a run has come to shares, words are carried: all are ready, all hold, all know that all hold. This is
    taken up after a crash from what the co-signers say of themselves, whether or not the date is past.
(d) Where some have a share of a run and one promises never to be ready for it, the run comes to nothing. The
    promise is asked for under the order, or, once that has run out, over everything that shows so.
(e) What each co-signer does by itself (give a backup, make a successor, destroy) is asked of each, and what
    it says of it, signed, is recorded; who is away is asked again for as long as the operation counts, and
    after that what the others did is recorded without it. The end of a key waits for no operation on it that
    has run out, and ends it, too: a co-signer that is lost for good must not keep the others' shares.
(f) What comes back waits for its officer, who brings it through here (`backing`) while the operation counts.
The service believes nothing of it: words are verified here for the record, and by each co-signer for itself.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ledger.entry import Entry
from workbench.evm.transaction import address_of
from workbench.rules import key_operation, officers
from workbench.rules.codes import Refusal, RefusedError
from workbench.rules.documents import Digest, Document, Name, Whole, read_time, verify_ed25519
from workbench.rules.key_operation import ORDERED, KeyOperation, Restoration, SignedOperation
from workbench.rules.recovery import Did, SignedTestimony, SignedTicket
from workbench.rules.threshold import WORD_LINE, SignedWord
from workbench.service import bringing
from workbench.service.backing import TRIED, Backing, TicketAsked, WayBack, refused
from workbench.service.bringing import Ground
from workbench.service.courier import Courier, StepError
from workbench.service.lane import Lane
from workbench.service.recalling import bring

MADE, RESTORED, ENDED = "key.made", "key.restored", "key.ended"
PARTLY = "partly"
"""How an operation ends of which some co-signers have done their part when it runs out, and some have not."""
DETAIL_MAX = 1500
TOLD_MAX = 32


class Ends(NamedTuple):
    """How an operation ends that co-signers do each by themselves: what they say, and what is recorded."""

    did: Did
    kind: str
    state: str


ENDS: Mapping[str, Ends] = {
    "backup": Ends("backed-up", "key.backed-up", "backed-up"),
    "rotate": Ends("generated", "key.generated", "generated"),
    "destroy": Ends("destroyed", "key.destroyed", "destroyed"),
}


class KeyWorkView(Document):
    """An operation as the service has it."""

    digest: Digest
    state: Name
    entry_seq: Whole


@dataclass(slots=True)
class Work:
    """One operation: what was ordered, where the ledger has it, and how it ended."""

    signed: SignedOperation
    seq: int
    state: str = "ordered"
    testified: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def operation(self) -> KeyOperation:
        """What was ordered."""
        return self.signed.operation

    @property
    def view(self) -> KeyWorkView:
        """What is told of it."""
        return KeyWorkView(digest=self.operation.digest, state=self.state, entry_seq=self.seq)


@dataclass(slots=True)
class Keeping:
    """The operations that the ledger has."""

    lane: Lane
    backing: Backing
    works: dict[str, Work] = field(default_factory=dict)
    _told: dict[str, set[str]] = field(default_factory=dict)
    _ending: threading.Lock = field(default_factory=threading.Lock)
    _ordering: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        for entry in self.lane.books.key_entries:
            self._enter(entry)

    def order(self, signed: SignedOperation) -> KeyWorkView:
        """Record an operation (a) that a quorum of officers has signed; the same again is the same."""
        operation, lane = signed.operation, self.lane
        known = self.works.get(operation.digest)
        if known is not None:
            return known.view
        policy = lane.policy
        officers.verify_signed(
            operation, signed.signatures, policy=policy, trust_root=lane.trust_root, what="the operation"
        )
        officers.verify_dated(operation, policy=policy, now=lane.clock())
        self._parties(operation)
        # two that come at once are one after the other
        with self._ordering:
            if operation.digest not in self.works:
                self._record(signed)
        return self.works[operation.digest].view

    def _record(self, signed: SignedOperation) -> None:
        operation, recorder = signed.operation, self.lane.recorder
        if operation.operation != "restore" and self._busy(operation):
            raise RefusedError(Refusal.STATE, f"another operation on {operation.key} is under way")
        self._new(operation)
        receipt = recorder.append(ORDERED, operation.digest, signed.dump(), actor="service")
        self._enter(next(recorder.ledger.entries(receipt.seq, receipt.seq)))

    def _busy(self, asked: KeyOperation) -> bool:
        """Whether another operation is under way; one that waits for an officer keeps none from its key."""
        others = [each for each in self._open(asked.key) if each.operation != "restore"]
        if asked.operation == "destroy":
            others = [each for each in others if not self._over(each)]
        return bool(others)

    def _open(self, key: str) -> list[KeyOperation]:
        works = [each for each in self.works.values() if each.state == "ordered"]
        return [each.operation for each in works if each.operation.key == key]

    def _ended(self, work: Work) -> bool:
        """(e) Whether a co-signer has destroyed its part of the key since this was ordered."""
        return any(
            each.operation.operation == "destroy"
            and each.operation.key == work.operation.key
            and each.seq > work.seq
            and each.state in {"destroyed", PARTLY}
            for each in self.works.values()
        )

    def _over(self, operation: KeyOperation) -> bool:
        return read_time(operation.expires_at) <= self.lane.clock()

    def _new(self, operation: KeyOperation) -> None:
        """Refuse an epoch that somebody has already: its shares are of another order."""
        if operation.operation not in key_operation.MAKING:
            return
        for name, index in self._status(operation.key, self._parties(operation)).items():
            made_to = (index or {}).get("made_to", 0)
            if type(made_to) is not int or operation.epoch <= made_to:
                raise RefusedError(Refusal.STATE, f"{name} has epoch {made_to} of {operation.key} already")

    def view(self, digest: str) -> KeyWorkView:
        """Return an operation by its name."""
        try:
            return self.works[digest].view
        except KeyError:
            raise RefusedError(Refusal.NOT_FOUND, "no such operation") from None

    def step(self) -> None:
        """Carry each operation that is under way as far as it goes; what fails for now is tried again."""
        for digest, work in list(self.works.items()):
            if work.state != "ordered":
                continue
            try:
                self._carry(work)
            except (RefusedError, StepError, OSError) as error:
                self._tell(digest, error)

    def _carry(self, work: Work) -> None:
        operation = work.operation
        over = self._over(operation)
        if self._ended(work):
            self._finish(work, ENDED, "failed", {"reason": f"{operation.key} has ended"})
            return
        if operation.operation in ENDS:
            self._testified(work, over=over)
            return
        if operation.operation == "restore":
            # an officer brings it; until then there is nothing to carry
            if over:
                self._finish(work, ENDED, "lapsed", {"reason": "it ran out"})
            return
        parties = self._parties(operation)
        there = self._status(operation.key, parties)
        run = next((run for each in there.values() for run in _runs(each, operation.epoch)), None)
        if run is not None:
            self._settle(work, parties, there, run, over=over)
        elif over:
            self._finish(work, ENDED, "lapsed", {"reason": "it ran out"})
        else:
            self._run(work, parties)

    def _run(self, work: Work, parties: Sequence[str]) -> None:
        """(b) Have all allow it, then carry the run to its shares."""
        operation, lane = work.operation, self.lane
        ground = bringing.ground(lane)
        for name in parties:
            said = lane.links.ask(name, bringing.ordered(lane, work.signed.dump(), work.seq, name, ground))
            if "agreed" not in said:
                raise refused(name, said)
        if operation.operation == "refresh":
            for name in parties:
                bring(lane.links, lane.policy.key(operation.key), name)
        numbers = {name: number for number, name in enumerate(parties, 1)}
        with ThreadPoolExecutor(len(numbers)) as pool:
            Courier(lane.links.ask, pool, numbers).carry(
                {"v": 1, "operation": "key-open", "order": operation.digest},
                {"v": 1, "operation": "take", "key": operation.key},
            )
        self._carry(work)

    def _settle(
        self,
        work: Work,
        parties: Sequence[str],
        there: Mapping[str, dict[str, Any] | None],
        run: str,
        *,
        over: bool,
    ) -> None:
        """(c) (d) Bring words about until all know that all hold the epoch, or that it comes to nothing."""
        key = work.operation.key
        missing = [name for name, each in there.items() if run not in _runs(each, work.operation.epoch)]
        if missing:
            self._come_to_nothing(work, missing, there, run, over=over)
            return
        ask = self.lane.links.ask
        asked = {"v": 1, "operation": "key-word", "key": key, "run": run}
        said = {name: ask(name, asked) for name in parties}
        for _ in range(2):
            words = [self._word(name, each) for name, each in said.items()]
            told = {"v": 1, "operation": "key-words", "key": key, "run": run}
            told["words"] = [each.dump() for each in words]
            said = {name: ask(name, told) for name in parties}
        words = [self._word(name, each) for name, each in said.items()]
        public_key = self._agreed(words, work.operation, run)
        data = {
            "key": key,
            "epoch": work.operation.epoch,
            "run": run,
            "public_key": public_key,
            "address": address_of(bytes.fromhex(public_key)),
            "words": [each.dump() for each in words],
        }
        self._finish(work, MADE, "made", data)

    @staticmethod
    def _agreed(words: Sequence[SignedWord], operation: KeyOperation, run: str) -> str:
        """Return the key that all hold by their last words; refused when one says something else."""
        said = {
            (each.word.stage, each.word.key, each.word.epoch, each.word.run, each.word.public_key)
            for each in words
        }
        public_key = words[0].word.public_key
        if public_key is None or said != {("held", operation.key, operation.epoch, run, public_key)}:
            raise RefusedError(Refusal.EQUIVOCATION, f"co-signers of {operation.key} hold different things")
        return public_key

    def _come_to_nothing(
        self,
        work: Work,
        missing: Sequence[str],
        there: Mapping[str, dict[str, Any] | None],
        run: str,
        *,
        over: bool,
    ) -> None:
        """(d) Ask for a promise of who has no share of this run; those who have one settle by it."""
        ask, operation = self.lane.links.ask, work.operation
        name, word = self._promised(work, missing, run, over=over)
        for other in there:
            if other not in missing:
                settle = {"v": 1, "operation": "key-settle", "key": operation.key, "run": run}
                said = ask(other, settle | {"word": word.dump()})
                if "refused" in said:
                    raise refused(other, said)
        self._finish(work, ENDED, "failed", {"reason": f"{name} has no share of the run", "run": run})

    def _promised(
        self, work: Work, missing: Sequence[str], run: str, *, over: bool
    ) -> tuple[str, SignedWord]:
        """(d) Return the first promise; who has settled its share before says that it is ready."""
        ground = bringing.ground(self.lane)
        said = []
        for name in missing:
            try:
                word = self._word(name, self._never(work, name, run, ground, over=over))
            except RefusedError as refusal:
                said.append(str(refusal))
                continue
            if word.word.stage == "never":
                return name, word
            said.append(f"{name}: {word.word.stage}")
        raise RefusedError(Refusal.UNAVAILABLE, "; ".join(said)[:DETAIL_MAX])

    def _never(self, work: Work, name: str, run: str, ground: Ground, *, over: bool) -> dict[str, Any]:
        ask = self.lane.links.ask
        evidence = bringing.ordered(self.lane, work.signed.dump(), work.seq, name, ground)
        if over:
            return ask(name, {"v": 1, "operation": "key-over", "run": run, "evidence": evidence})
        allowed = ask(name, evidence)
        if "agreed" not in allowed:
            raise refused(name, allowed)
        return ask(name, {"v": 1, "operation": "key-never", "order": work.operation.digest, "run": run})

    def _testified(self, work: Work, *, over: bool) -> None:
        """(e) Have each co-signer that takes part do it, once, and say so."""
        operation, ground = work.operation, bringing.ground(self.lane)
        ended = ENDS[operation.operation]
        silent = []
        for name in self._parties(operation):
            if name in work.testified:
                continue
            try:
                said = self.lane.links.ask(
                    name, bringing.ordered(self.lane, work.signed.dump(), work.seq, name, ground)
                )
                signed = self.backing.testimony(
                    name, said, did=ended.did, order=operation.digest, key=operation.key
                )
                if operation.operation == "backup":
                    self.backing.keep(said.get("backup"), testimony=signed.testimony, epoch=operation.epoch)
            except RefusedError as refusal:
                silent.append(str(refusal))
                continue
            work.testified[name] = signed.dump()
        reason = "; ".join(silent)[:DETAIL_MAX]
        if silent and not over:
            raise RefusedError(Refusal.UNAVAILABLE, reason)
        data: dict[str, Any] = {"key": operation.key, "testimonies": work.testified}
        if not silent:
            self._finish(work, ended.kind, ended.state, data)
        elif work.testified:
            self._finish(work, ended.kind, PARTLY, data | {"reason": reason})
        else:
            self._finish(work, ENDED, "failed", {"reason": reason})

    def ticket(self, backup: str, asked: TicketAsked) -> SignedTicket:
        """(f) Return the one-time key of the co-signer that made a backup."""
        if asked.order is None:
            return self.backing.ticket(asked.cosigner, backup, None)
        work = self._restoring(asked.order, backup)
        name = self._parties(work.operation)[0]
        said = self.lane.links.ask(
            name, bringing.ordered(self.lane, work.signed.dump(), work.seq, name, bringing.ground(self.lane))
        )
        if "agreed" not in said:
            raise refused(name, said)
        return self.backing.ticket(name, backup, asked.order)

    def back(self, backup: str, way: WayBack) -> SignedTestimony:
        """(f) Carry what an officer has opened; record what came of it."""
        if way.backup.digest != backup:
            raise RefusedError(Refusal.MALFORMED, "another backup than the one that is named")
        if way.order is None:
            return self.backing.try_(way)
        work = self._restoring(way.order, backup)
        signed = self.backing.back(way)
        data = {"key": work.operation.key, "testimonies": {way.backup.backup.cosigner: signed.dump()}}
        self._finish(work, RESTORED, "restored", data)
        return signed

    def _restoring(self, order: str, backup: str) -> Work:
        work = self.works.get(order)
        given = work.operation.parameters if work is not None else None
        if work is None or not isinstance(given, Restoration) or given.backup != backup:
            raise RefusedError(Refusal.NOT_FOUND, "no order brings this backup back")
        if work.state != "ordered":
            raise RefusedError(Refusal.STATE, f"this order is {work.state}")
        return work

    def _parties(self, operation: KeyOperation) -> list[str]:
        # the set that it was signed under: what came since does not change who takes part
        named = (each for each in self.lane.policies if each.digest == operation.policy)
        policy = next(named, self.lane.policy)
        return key_operation.parties(operation, policy=policy, trust_root=self.lane.trust_root)

    def _status(self, key: str, parties: Sequence[str]) -> dict[str, dict[str, Any] | None]:
        """Return what each co-signer says of the epochs that it has; refused while one is away."""
        found: dict[str, dict[str, Any] | None] = {}
        for name in parties:
            said = self.lane.links.ask(name, {"v": 1, "operation": "key-status", "key": key})
            index = said.get("index")
            if "index" not in said or not isinstance(index, dict | None):
                raise refused(name, said)
            found[name] = index
        return found

    def _word(self, name: str, said: dict[str, Any]) -> SignedWord:
        if "word" not in said:
            raise refused(name, said)
        signed = SignedWord.load(said["word"])
        key = self.lane.trust_root.cosigners[name]
        verify_ed25519(key, signed.signature, WORD_LINE, signed.word.canonical(), what=f"word of {name}")
        return signed

    def _finish(self, work: Work, kind: str, state: str, data: dict[str, Any]) -> None:
        digest = work.operation.digest
        whole = {"order": digest, "state": state, **data}
        # an officer may bring a share in the moment in which its order runs out: what came of it is so
        with self._ending:
            if work.state != "ordered" and (work.state, state) != ("lapsed", "restored"):
                raise RefusedError(Refusal.STATE, f"this order is {work.state}")
            receipt = self.lane.recorder.append(kind, digest, whole, actor="service")
            self._enter(next(self.lane.recorder.ledger.entries(receipt.seq, receipt.seq)))

    def _enter(self, entry: Entry) -> None:
        data = entry.data or {}
        if entry.type == ORDERED:
            signed = SignedOperation.load(data)
            self.works[signed.operation.digest] = Work(signed, entry.seq)
        elif entry.type != TRIED:
            self.works[str(data["order"])].state = str(data["state"])

    def _tell(self, digest: str, error: Exception) -> None:
        """Record once for each reason why an operation does not go on; a liar has no end of reasons."""
        refusal = error if isinstance(error, RefusedError) else RefusedError(Refusal.UNAVAILABLE, str(error))
        told, known = str(refusal), self._told.setdefault(digest, set())
        if told not in known and len(known) < TOLD_MAX:
            self.lane.recorder.refusal(refusal, actor="service", about=f"key operation {digest}")
            known.add(told)


def _runs(index: dict[str, Any] | None, epoch: int) -> Iterator[str]:
    """Return the runs of which a co-signer has a share of this epoch, settled ones left out."""
    with suppress(KeyError, TypeError):
        for each in (index or {})["epochs"]:
            if each["epoch"] == epoch:
                yield str(each["run"])
