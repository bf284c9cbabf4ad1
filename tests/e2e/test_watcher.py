"""The watcher: silence is a pause, and no courier hides what it orders."""

from __future__ import annotations

import copy
import json
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.approver.test_console import COMMAND
from tests.approver.test_console import approve as at_console
from tests.cosigner.test_gate import UNHURRIED, Courier
from tests.world import COSIGNER, Living, living, refused
from workbench import watcher_client
from workbench.commands.pause import LIFE
from workbench.demo import charter
from workbench.demo.world import LEASE_EVERY_S, LEASE_TTL_S, SERVICE, WATCHER
from workbench.process.frames import call
from workbench.rules.assertion import CONSOLE
from workbench.rules.codes import Refusal
from workbench.rules.order_request import OrderRequest
from workbench.rules.pause import Orders, SignedRelease
from workbench.rules.words import words

KEY = f"key:{charter.KEY_ID}"
WAIT_S = 3 * LEASE_EVERY_S
END_S = 60


def pause(world: Living, scope: str, person: str = "cro-1") -> int:
    """Have one person pause something, past the service."""
    return watcher_client.pause(
        world.world.places.socket(WATCHER), world.officer(person).speaks, scope, reason="a test"
    )


def drafted(world: Living, *scopes: str) -> OrderRequest:
    """Draft a release."""
    watcher = world.world.places.socket(WATCHER)
    return watcher_client.draft_release(watcher, scopes, reason="a test", life=LIFE)


def signed(world: Living, request: OrderRequest, *signers: tuple[str, str]) -> SignedRelease:
    """Have officers sign it."""
    challenge = request.order.challenge
    presses = [world.officer(person).press(challenge, path=path).dump() for person, path in signers]
    return SignedRelease.load({"release": request.order.dump(), "signatures": presses})


def release(world: Living, *scopes: str) -> int:
    """Have two officers release something."""
    made = signed(world, drafted(world, *scopes), ("risk-1", CONSOLE), ("committee-1", "approval"))
    return watcher_client.hand_in(world.world.places.socket(WATCHER), made)


def remembers(world: Living, cosigner: str = COSIGNER) -> Orders:
    """Return what a co-signer says it has heard."""
    said = call(world.world.places.socket(cosigner), {"v": 1, "operation": "status"}, timeout_s=30)
    return Orders.load(said["orders"])


def until(what: Callable[[], bool]) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + WAIT_S
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.05)


class Hiding(Courier):
    """A service that keeps things back: it has evidence, and leases of its own choosing."""

    def refuses(self, lease: Any, step: int, code: str) -> None:
        """Bring the evidence with this lease: refused so, and nothing changed."""
        before = self.memory()
        answer = self.hand_over(copy.deepcopy(self.evidence) | {"lease": lease}).answer
        assert answer.refused is not None
        assert (answer.refused.step, answer.refused.code) == (step, code), answer.refused.detail
        assert answer.raw_tx is None
        assert self.memory() == before


@pytest.fixture(scope="module")
def courier() -> Iterator[Hiding]:
    """A living world with evidence in the hands of a service that hides things."""
    with living(second_key=("risk-1",), limits=UNHURRIED) as world:
        for person in ("committee-1", "risk-1", "cro-1", "trader-1"):
            world.officer(person)
        yield Hiding(world)


def bent(lease: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """Return a lease that was changed on the way."""
    return lease | {"lease": lease["lease"] | changes}


def test_a_lease_is_asked_for(courier: Hiding) -> None:
    """None, one of another's making, and one that was bent."""
    good = courier.lease()
    courier.refuses(None, 1, "lease_missing")
    courier.refuses({}, 0, "malformed")
    courier.refuses(bent(good, pause_epoch=7), 1, "signature_invalid")
    courier.refuses(bent(good, head={"size": 0, "root": "0" * 64}), 1, "signature_invalid")
    courier.refuses(good | {"signature": "00" * 64}, 1, "signature_invalid")


def test_a_pause_is_not_hidden(courier: Hiding) -> None:
    """The courier brings a lease from before the pause, and then the one with it; also after a power cut."""
    world = courier.world
    older = courier.lease()
    epoch = pause(world, KEY)
    until(lambda: remembers(world).paused == {KEY: epoch})
    courier.refuses(older, 1, "lease_behind_what_was_heard")
    courier.refuses(courier.lease(), 1, "paused")
    world.stack.kill(COSIGNER)
    world.stack.start(COSIGNER)
    courier.refuses(older, 1, "lease_behind_what_was_heard")
    courier.refuses(courier.lease(), 1, "paused")


def test_a_pause_reaches_a_co_signer_that_heard_nothing_of_it(courier: Hiding) -> None:
    """A co-signer that was away while it was ordered, brought the newest lease by the courier itself."""
    world = courier.world
    world.stack.kill(COSIGNER)
    epoch = pause(world, "all", person="pm-1")
    world.stack.start(COSIGNER)
    courier.refuses(courier.lease(), 1, "paused")
    assert remembers(world).paused["all"] == epoch


@pytest.mark.parametrize(
    ("signers", "code"),
    [
        pytest.param((("risk-1", CONSOLE),), Refusal.POLICY_CHAIN, id="one officer"),
        pytest.param((("risk-1", CONSOLE), ("risk-1", "approval")), Refusal.POLICY_CHAIN, id="one twice"),
        pytest.param((("risk-1", "approval"), ("cro-1", "approval")), Refusal.POLICY_CHAIN, id="pages only"),
    ],
)
def test_who_cannot_release(courier: Hiding, signers: tuple[tuple[str, str], ...], code: Refusal) -> None:
    """Refused by the watcher, and by the co-signer where a watcher that lies brings it."""
    world = courier.world
    made = signed(world, drafted(world, "all"), *signers)
    before = watcher_client.standing(world.world.places.socket(WATCHER)).orders
    with pytest.raises(Exception, match=code.value):
        watcher_client.hand_in(world.world.places.socket(WATCHER), made)
    assert watcher_client.standing(world.world.places.socket(WATCHER)).orders == before
    chain = courier.evidence["policy_chain"]
    request = {"v": 1, "operation": "release", "release": made.dump(), "policy_chain": chain}
    said = call(world.world.places.socket(COSIGNER), request | {"lease": courier.lease()}, timeout_s=30)
    assert said["refused"]["code"] == code.value
    assert "all" in remembers(world).paused


def test_a_trader_cannot_pause(courier: Hiding) -> None:
    """Who holds no role that may: refused, and the epoch is as it was."""
    before = remembers(courier.world)
    with pytest.raises(Exception, match=Refusal.ROLE_NOT_HELD.value):
        pause(courier.world, "all", person="trader-1")
    assert remembers(courier.world) == before


def test_a_release_that_the_watcher_does_not_share(courier: Hiding) -> None:
    """Officers have signed it, and the watcher pauses still: the co-signer goes by both."""
    world = courier.world
    made = signed(world, drafted(world, "all"), ("risk-1", CONSOLE), ("cro-1", "approval"))
    chain = courier.evidence["policy_chain"]
    request = {"v": 1, "operation": "release", "release": made.dump(), "policy_chain": chain}
    said = call(world.world.places.socket(COSIGNER), request | {"lease": courier.lease()}, timeout_s=30)
    assert said["refused"]["code"] == "paused"
    assert "all" in remembers(world).paused


def test_an_older_watcher_counts_nowhere(courier: Hiding, tmp_path: Path) -> None:
    """A watcher that is set back to yesterday's disk: its leases are behind, so nothing is signed."""
    world = courier.world
    root = world.world.places.root(WATCHER)
    world.stack.kill(WATCHER)
    shutil.copytree(root, tmp_path / "today")
    for path in (root / "ordered").iterdir():
        path.unlink()
    (root / "orders.json").unlink()
    found = root / "orders.json"
    found.write_bytes(b'{"pause_epoch":0,"paused":{},"policy_version":1,"revocation_epoch":0,"v":1}')
    world.stack.start(WATCHER)
    courier.refuses(courier.lease(), 1, "lease_behind_what_was_heard")
    world.stack.kill(WATCHER)
    shutil.rmtree(root)
    shutil.copytree(tmp_path / "today", root)
    world.stack.start(WATCHER)


def test_a_missing_order_stops_the_watcher(courier: Hiding) -> None:
    """One file taken away: the process does not start, and says what is missing."""
    world = courier.world
    root = world.world.places.root(WATCHER)
    world.stack.kill(WATCHER)
    newest = max((root / "ordered").iterdir())
    kept = newest.read_bytes()
    newest.unlink()
    done = subprocess.run(
        world.stack.command(WATCHER), capture_output=True, text=True, check=False, timeout=END_S
    )
    newest.write_bytes(kept)
    world.stack.start(WATCHER)
    assert done.returncode == 2
    assert "knows of more than the files beside it" in done.stderr


def test_killed_between_the_order_and_what_follows(courier: Hiding) -> None:
    """Kill -9 after the order is on disk: the next life knows of it."""
    world = courier.world
    world.stack.kill(WATCHER)
    world.stack.start(WATCHER, crash_at="1-ordered")
    with pytest.raises(OSError, match="watcher"):
        pause(world, "key:none")
    assert world.stack.wait_for_end(WATCHER) != 0
    world.stack.start(WATCHER)
    assert "key:none" in watcher_client.standing(world.world.places.socket(WATCHER)).orders.paused


def test_silence_is_a_pause(courier: Hiding) -> None:
    """The watcher is gone: its last lease holds for seconds, and then nothing does."""
    world = courier.world
    release(world, "all", KEY, "key:none")
    until(lambda: not remembers(world).paused)
    last = courier.lease()
    world.stack.kill(WATCHER)
    time.sleep(LEASE_TTL_S)
    courier.refuses(last, 1, "lease_stale")
    world.stack.start(WATCHER)


def test_a_release_reaches_who_was_away(courier: Hiding) -> None:
    """Paused, and released while the co-signer was down: it is brought the officers' signatures."""
    world = courier.world
    epoch = pause(world, "all")
    until(lambda: remembers(world).paused == {"all": epoch})
    world.stack.kill(COSIGNER)
    release(world, "all")
    world.stack.start(COSIGNER)
    until(lambda: not remembers(world).paused)


def test_free_again_it_is_signed(courier: Hiding) -> None:
    """The same evidence, with nothing paused: so nothing else was in the way."""
    answer = courier.hand_over(courier.evidence).answer
    assert answer.refused is None, answer.refused
    assert answer.raw_tx


def test_everything_that_was_ordered_is_in_the_ledger(courier: Hiding) -> None:
    """The genuine service comes back: each order and release stands there once, with who signed it."""
    world = courier.world
    world.stack.start(SERVICE)
    epochs = watcher_client.standing(world.world.places.socket(WATCHER)).orders.pause_epoch

    def recorded() -> list[dict[str, Any]]:
        return [entry for entry in world.entries() if entry["type"] in {"pause.ordered", "pause.released"}]

    until(lambda: len(recorded()) == epochs)
    entries = recorded()
    assert [entry["data"]["epoch"] for entry in entries] == list(range(1, epochs + 1))
    assert {entry["actor"] for entry in entries} == {WATCHER}
    assert entries[0]["data"]["pause"]["pause"]["person"] == "cro-1"


@pytest.fixture(scope="module")
def world() -> Iterator[Living]:
    """A living world for what people do."""
    with living() as built:
        yield built


def test_paused_it_waits_and_released_it_goes_on(world: Living) -> None:
    """A pause does not end an intent: what is approved waits, and is signed when officers release it."""
    epoch = pause(world, f"contract:{world.world.deployment.router}")
    until(lambda: bool(remembers(world).paused))
    view = world.outstanding()
    refused("paused", lambda: world.approve(view.digest))
    assert world.pm.intent(view.digest).state == "approved"
    assert world.transactions() == 0
    release(world, f"contract:{world.world.deployment.router}")
    until(lambda: not remembers(world).paused)
    assert world.settled(world.pm.resume(view.digest)).state == "confirmed"
    assert remembers(world).pause_epoch > epoch


def two_words(request: OrderRequest) -> str:
    """Return what has to be typed."""
    return " ".join(words(request.order.challenge.hex()).split()[-2:])


def said(*command: object) -> subprocess.CompletedProcess[str]:
    """Run a command."""
    return subprocess.run(
        [*COMMAND, *map(str, command)], capture_output=True, text=True, check=False, timeout=END_S
    )


def test_the_commands(world: Living, tmp_path: Path) -> None:
    """Pause, see it, draft, sign by two officers at their own machines, hand in."""
    watcher = world.world.places.socket(WATCHER)
    epoch = pause(world, KEY)
    shown = said("paused", "--watcher", watcher)
    assert shown.returncode == 0
    assert f"paused since epoch {epoch}: {KEY}" in shown.stdout
    files = [tmp_path / f"{number}.json" for number in range(3)]
    draft = said("release", KEY, "--reason", "over", "--watcher", watcher, "--out", files[0])
    assert draft.returncode == 0, draft.stderr
    request = OrderRequest.load(json.loads(files[0].read_text()))
    for number, person in enumerate(("cro-1", "risk-1")):
        typed = two_words(request)
        code, screen = at_console(
            world, files[number], files[number + 1], "--person", person, person=person, typed=typed
        )
        assert code == 0, screen
        assert f"{number} of 2 officers" in screen
    done = said("hand-in", files[2], "--socket", watcher)
    assert (done.returncode, done.stdout) == (0, f"released, epoch {epoch + 1}\n"), done.stderr
    assert "nothing is paused" in said("paused", "--watcher", watcher).stdout
    again = said("release", KEY, "--reason", "over", "--watcher", watcher, "--out", files[0])
    assert again.returncode == 2
    late = signed(world, drafted(world, KEY), ("cro-1", CONSOLE), ("risk-1", "approval"))
    with pytest.raises(Exception, match="nothing is paused that this would release"):
        watcher_client.hand_in(watcher, late)


def test_a_lapsed_release(world: Living) -> None:
    """Drafted for too long a time, or too late: the watcher refuses, and the pause stays."""
    watcher = world.world.places.socket(WATCHER)
    pause(world, KEY)
    for life in (timedelta(seconds=-1), timedelta(days=1)):
        request = watcher_client.draft_release(watcher, [KEY], reason="a test", life=life)
        made = signed(world, request, ("cro-1", CONSOLE), ("risk-1", "approval"))
        with pytest.raises(Exception, match=Refusal.EXPIRED.value):
            watcher_client.hand_in(watcher, made)
    assert KEY in watcher_client.standing(watcher).orders.paused
