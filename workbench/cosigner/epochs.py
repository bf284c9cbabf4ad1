"""How a new epoch of a shared key begins at all of its co-signers, or at none.

Each keeps its new share sealed and says `ready`; who is shown that all are ready takes its share up and says
`held`; who is shown that all hold it destroys what came before. Every word is signed, so the courier can only
withhold; withheld words are brought later, by anybody. Who was never ready may promise to stay so, which lets
the others begin another run.

The promise is true whenever it is given. Who has a share of the run says `ready` or `held` instead, also
where it is asked for the opposite. Who has none, and has not the run open, comes by none: a run's name has
this party's own fresh randomness in it, so what was put away, or ended with the process, is never begun
again. A promise makes nothing and destroys nothing. What it could be misused for is to stop a run that goes
on, so it ends none but those of the order that it is asked for: another that is open keeps it back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from workbench.cosigner.runs import Runs
from workbench.custody.shares import Entry, Index
from workbench.rules.codes import Refusal, RefusedError
from workbench.rules.documents import signed_bytes
from workbench.rules.threshold import (
    WORD_LINE,
    SignedWord,
    Terms,
    Word,
    verify_never,
    verify_words,
)

Stage = Literal["ready", "held", "never"]


@dataclass(frozen=True, slots=True)
class Epochs:
    """The words of one co-signer."""

    runs: Runs
    sign: Callable[[bytes], bytes]

    def ready(self, terms: Terms, run: str) -> SignedWord:
        """Say that the share which this run made is kept."""
        index, entry = self._find(terms.key, run)
        return self._say(index, entry, "ready")

    def hear(self, key: str, run: str, words: Sequence[SignedWord]) -> SignedWord:
        """Take everybody's words about a run's share, and do what they allow; answer with my own."""
        index, entry = self._find(key, run)
        using = index.current is not None and index.current.run == run
        held = self._held_by_all(words, entry, self._word(index, entry, "held"))
        if not using:
            if not held:
                self._verify(words, entry, self._word(index, entry, "ready"))
            entry = self.runs.shares.take_up(key, run)
        if held:
            self.runs.shares.destroy(key, run)
        return self._say(index, entry, "held")

    def never(self, terms: Terms, run: str) -> SignedWord:
        """Promise never to be ready for a run; who is ready says so instead."""
        index = self.runs.shares.index(terms.key)
        made = _made(index, run)
        if index is not None and made is not None:
            return self._say(index, made, "held" if index.current == made else "ready")
        party = terms.parties.index(self.runs.name) + 1
        there = self.runs.terms(terms.key)
        if there is not None and there.subject != terms.subject:
            raise RefusedError(Refusal.RUN, f"another run over {terms.key} is open here")
        # a run that is still open could end in the share: the list of promises has an end
        self.runs.put_away(terms.key)
        self.runs.shares.never(terms.key, party, run)
        word = Word(
            v=1,
            run=run,
            key=terms.key,
            epoch=terms.epoch,
            party=party,
            stage="never",
            public_key=None,
            points=None,
        )
        return self._signed(word)

    def settle(self, key: str, run: str, word: SignedWord) -> None:
        """Take somebody else's promise: a share that waits lets another run begin."""
        index, entry = self._find(key, run)
        mine = self._word(index, entry, "ready")
        verify_never(word, mine=mine, parties=entry.parties, keys=self.runs.keys)
        self.runs.shares.settle(key, run)

    def _held_by_all(self, words: Sequence[SignedWord], entry: Entry, mine: Word) -> bool:
        """Whether all others say that they hold it; a word that does not verify is refused."""
        holders = {each.word.party for each in words if each.word.stage == "held"} - {mine.party}
        if len(holders) < len(entry.parties) - 1:
            return False
        self._verify(words, entry, mine)
        return True

    def _verify(self, words: Sequence[SignedWord], entry: Entry, mine: Word) -> None:
        verify_words(words, mine=mine, stage=mine.stage, parties=entry.parties, keys=self.runs.keys)

    def word(self, key: str, run: str) -> SignedWord:
        """Say how far I am with the share that a run has made."""
        index, entry = self._find(key, run)
        return self._say(index, entry, "held" if index.current == entry else "ready")

    def _find(self, key: str, run: str) -> tuple[Index, Entry]:
        index = self.runs.shares.index(key)
        entry = _made(index, run)
        if index is None or entry is None:
            raise RefusedError(Refusal.SHARE, f"no share of {key} was made in run {run}")
        return index, entry

    def _word(self, index: Index, entry: Entry, stage: Stage) -> Word:
        return Word(
            v=1,
            run=entry.run,
            key=index.key,
            epoch=entry.epoch,
            party=index.party,
            stage=stage,
            public_key=entry.public_key,
            points=entry.points,
        )

    def _say(self, index: Index, entry: Entry, stage: Stage) -> SignedWord:
        return self._signed(self._word(index, entry, stage))

    def _signed(self, word: Word) -> SignedWord:
        return SignedWord(word=word, signature=self.sign(signed_bytes(WORD_LINE, word.canonical())).hex())


def _made(index: Index | None, run: str) -> Entry | None:
    if index is None:
        return None
    entries = [*index.waiting, *([index.current] if index.current else [])]
    return next((entry for entry in entries if entry.run == run), None)
