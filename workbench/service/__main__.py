"""The service's process: ledger, token, policy sets and trust root in; a unix socket out, and perhaps a port.

State root: config.json, pin, token, ledger.duckdb, checkpoints/, timestamps/, policies/, blobs/, bundles/,
segments/.
`accounts` in the configuration is {} or names a TLS listener for service accounts (`listener`).
At start it verifies its policy sets and its own ledger against the newest checkpoint kept
outside the database, and takes up what a crash left unfinished.

When a commit fails (a full disk), nobody knows what the disk holds until the ledger is
opened again: the process begins again from nothing, by exec, under the same pid. When it
is told to end, it answers what it has taken, writes that, and lets go of the ledger.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import os
import secrets
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final, NoReturn

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from ledger.encoding import parse
from ledger.store import StoreError
from ledger.timestamp import MissingExtraError
from ledger.trust import TrustRoot as LedgerTrustRoot
from ledger.writer import Writer
from workbench.custody.errors import TokenError
from workbench.custody.token import opened
from workbench.process.config import ConfigError, StateRoot, arguments
from workbench.process.crash import CrashPoint
from workbench.process.frames import FrameError, listener, peer_of
from workbench.process.http import configured
from workbench.rules.change import Event
from workbench.rules.codes import Refusal, RefusedError
from workbench.rules.documents import DOCUMENT_MAX
from workbench.rules.policy import PolicySet, verify_chain
from workbench.rules.trust import TrustRoot
from workbench.service import accounts, app
from workbench.service import listener as tls
from workbench.service.anchoring import Anchoring
from workbench.service.backing import Backing
from workbench.service.books import Books
from workbench.service.changes import Changes, in_force, keep
from workbench.service.credentials import Credentials
from workbench.service.desk import Desk
from workbench.service.enrolment import Enrolment
from workbench.service.isolating import Isolating
from workbench.service.keeping import Keeping
from workbench.service.lane import Lane
from workbench.service.links import Links
from workbench.service.observers import Observers
from workbench.service.pools import Pools
from workbench.service.recalling import Recalling
from workbench.service.record import Recorder, open_ledger
from workbench.service.sessions import Sessions
from workbench.service.stamping import Stamping
from workbench.service.tokens import Tokens
from workbench.service.watch import Watch
from workbench.service.watching import Watching
from workbench.service.witnesses import Witnesses

CONFIG: Final = (
    "accounts",
    "anchor",
    "anchor_every_s",
    "checkpoint_key",
    "cosigners",
    "observers",
    "timestamp",
    "timestamp_every_s",
    "token",
    "watcher",
    "witnesses",
)

COULD_NOT_START: Final = (
    ConfigError,
    TokenError,
    StoreError,
    FrameError,
    RefusedError,
    MissingExtraError,
    OSError,
    ValueError,
)
NONCE_BITS = 64
TAKE_UP_S, WATCH_S, RECALL_S, TOKENS_S, ISOLATE_S = 1.0, 2.0, 2.0, 30.0, 5.0
TOKENS_AGAIN = 20
GRACE_S = 10
PAUSE_S = 1.0
"""Before beginning again: a disk that stays full must not keep a processor busy."""
CONNECTIONS_MAX = 256
SWITCH_S = 0.0005
"""The ledger's writer comes back from the disk several times a commit, and waits this long for its turn."""


class PeerProtocol(H11Protocol):
    """HTTP that tells the application which OS user is at the other end of the socket."""

    def connection_made(self, transport: Any) -> None:  # noqa: ANN401 - asyncio's
        """Take the peer's credentials from the kernel before the first byte is read."""
        super().connection_made(transport)
        uid = peer_of(transport.get_extra_info("socket")).uid
        inner = self.app

        async def with_peer(scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401 - ASGI's
            scope["peer_uid"] = uid
            await inner(scope, receive, send)

        self.app = with_peer


def main() -> int:
    """Serve until ended; exit code 2 when the process cannot start."""
    options = arguments("Service: sole writer of the ledger, courier between all others.").parse_args()
    try:
        desk, changes, anchoring, stamping, programs = _desk(options)
        bound = listener(options.socket, mode=0o660)
    except COULD_NOT_START as error:
        print(f"service: {error}", file=sys.stderr)
        return 2
    sys.setswitchinterval(SWITCH_S)
    # what is there now stays: else every collection would look through all of it again
    gc.collect()
    gc.freeze()
    tokens = Tokens(desk.lane.links, desk.lane.recorder)
    _attempt(tokens.step)
    threading.Thread(target=_tokens, args=(tokens,), daemon=True).start()
    threading.Thread(target=_take_up, args=(desk, changes), daemon=True).start()
    threading.Thread(target=_anchor, args=(anchoring,), daemon=True).start()
    threading.Thread(target=_stamp, args=(stamping,), daemon=True).start()
    observers = desk.lane.links.observers
    for name in observers.sockets:
        watching = Watching(desk.lane.recorder, observers, name, desk.lane.trust_root)
        threading.Thread(target=_watch, args=(watching,), daemon=True).start()
    isolating = Isolating.of(desk.lane.recorder, desk.lane.links, desk.lane.recorder.entries())
    threading.Thread(target=_isolate, args=(isolating,), daemon=True).start()
    recalling = Recalling(desk.lane.links, desk.lane.recorder)
    threading.Thread(target=_recall, args=(recalling, desk), daemon=True).start()
    watch = Watch(desk.lane.links, desk.lane.recorder, lambda: desk.lane.policies)
    threading.Thread(target=_keep_watch, args=(watch,), daemon=True).start()
    if programs is not None:
        programs.start(accounts.build(desk, lost))
    keeping = Keeping(desk.lane, Backing(desk.lane, options.state / "backups"))
    threading.Thread(target=_keep_keys, args=(keeping,), daemon=True).start()
    api = app.Api(
        desk=desk,
        changes=changes,
        enrolment=Enrolment(desk),
        keeping=keeping,
        bundles=options.state / "bundles",
        lost=lost,
        pools=Pools(desk.lane.links.observers),
        isolating=isolating,
    )
    _serve(api, bound)
    if programs is not None:
        programs.stop()
    desk.lane.recorder.close()
    return 0


def _serve(api: app.Api, bound: socket.socket) -> None:
    config = configured(
        app.build(api),
        connections_max=CONNECTIONS_MAX,
        grace_s=GRACE_S,
        http=PeerProtocol,
    )
    # uvicorn raises the signal that ended it once more; then the ledger would not be closed
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    uvicorn.Server(config).run(sockets=[bound])


def _take_up(desk: Desk, changes: Changes) -> None:
    """Resume what stands between release and confirmation, after a crash and ever after."""
    told: dict[str, Refusal] = {}
    while True:
        _turn(desk, changes, told)
        time.sleep(TAKE_UP_S)


def _turn(desk: Desk, changes: Changes, told: dict[str, Refusal]) -> None:
    """Do everything once that is due: what fails, or waits for a peer that hangs, keeps nothing else back."""
    for act in (changes.step, desk.expire, desk.sessions.end_overdue, changes.keep_files):
        _attempt(act)
    for digest in desk.unfinished():
        _attempt(partial(_resume, desk, digest, told))


def _attempt(act: Callable[[], None]) -> None:
    try:
        act()
    except StoreError as error:
        lost(error)
    except Exception:  # noqa: BLE001 - the outermost loop: one failure must not end all that follow
        traceback.print_exc()


def _anchor(anchoring: Anchoring) -> None:
    """Have a checkpoint anchored from time to time; a chain that is slow or gone is no reason to stop."""
    while True:
        try:
            anchoring.step()
        except StoreError as error:
            lost(error)
        except RefusedError:
            pass  # the next turn asks again
        except Exception:  # noqa: BLE001 - as in _attempt
            traceback.print_exc()
        time.sleep(TAKE_UP_S)


def _recall(recalling: Recalling, desk: Desk) -> None:
    """Look after co-signers that have started anew."""
    while True:
        _attempt(partial(recalling.step, desk.lane.policy))
        time.sleep(RECALL_S)


def _keep_keys(keeping: Keeping) -> None:
    """Carry what officers have ordered of keys."""
    while True:
        _attempt(keeping.step)
        time.sleep(TAKE_UP_S)


def _keep_watch(watch: Watch) -> None:
    """Keep the watcher and the ledger in step."""
    while True:
        _attempt(watch.step)
        time.sleep(TAKE_UP_S)


def _tokens(tokens: Tokens) -> None:
    """Look after co-signers that were away; ask the others now and then whether their token has changed."""
    for turn in itertools.count(1):
        time.sleep(TOKENS_S)
        _attempt(partial(tokens.step, unheard_only=turn % TOKENS_AGAIN != 0))


def _isolate(isolating: Isolating) -> None:
    """Ask the co-signers what shuts them in."""
    while True:
        _attempt(isolating.step)
        time.sleep(ISOLATE_S)


def _watch(watching: Watching) -> None:
    """Have an observer look at its nodes all the time, and record what it notes."""
    while True:
        _attempt(watching.step)
        time.sleep(WATCH_S)


def _stamp(stamping: Stamping) -> None:
    """Have a checkpoint time-stamped from time to time; what an authority does is no reason to stop."""
    while True:
        try:
            for failure in stamping.step():
                print(f"service: no time-stamp: {failure}", file=sys.stderr, flush=True)
        except StoreError as error:
            lost(error)
        except Exception:  # noqa: BLE001 - as in _attempt
            traceback.print_exc()
        time.sleep(TAKE_UP_S)


def _resume(desk: Desk, digest: str, told: dict[str, Refusal]) -> None:
    try:
        desk.resume(digest)
    except RefusedError as refused:
        # once for each reason: a peer that is down for an hour is one fact, not thousands
        if told.get(digest) is not refused.code:
            desk.lane.recorder.refusal(refused, actor="service", about=f"resume {digest}")
            told[digest] = refused.code


def lost(error: StoreError) -> NoReturn:
    """Begin again: after a commit that did not finish only a start reads what the disk really holds."""
    print(f"service: begins again, the ledger is lost to this run: {error}", file=sys.stderr, flush=True)
    time.sleep(PAUSE_S)
    # every file, socket and lock closes with the exec, and no memory of this run is left to be wrong
    os.execv(sys.executable, [sys.executable, "-m", "workbench.service", *sys.argv[1:]])


def _desk(
    options: argparse.Namespace,
) -> tuple[Desk, Changes, Anchoring, Stamping, tls.Listener | None]:
    root = StateRoot(options.state)
    config = root.config(CONFIG)
    programs = tls.opened(config["accounts"])
    pinned = options.trust_root.read_bytes()
    trust_root = TrustRoot.read(pinned)
    if options.testing_only_crash_at is not None and trust_root.profile != "demo":
        raise ConfigError("--testing-only-crash-at is refused under a production trust root")
    policies = _policies(options.state / "policies")
    verify_chain(policies, trust_root=trust_root, now=_clock())
    token = opened(options.state, config["token"], pin=root.pin, clock=_clock)
    witnesses = Witnesses(LedgerTrustRoot.parse(pinned), config["witnesses"], _clock)
    ledger = open_ledger(options.state, pinned, now=_clock, remembered=witnesses.remembered())
    if ledger.genesis.trust_root.hex() != trust_root.digest:
        raise ConfigError("the ledger's genesis names another trust root")
    key = token.ed25519(bytes.fromhex(config["checkpoint_key"]))
    recorder = Recorder(ledger, Writer(ledger), trust_root, pinned, key, options.state, witnesses)
    books = Books.of(recorder.entries())
    policies = _in_force(policies, recorder, books, options.state / "policies")
    verify_chain(policies, trust_root=trust_root, now=_clock())
    links = Links(
        observers=_observers(config["observers"], recorder),
        cosigners={name: Path(path) for name, path in config["cosigners"].items()},
        anchor=Path(config["anchor"]) if config["anchor"] else None,
        watcher=_watcher(config["watcher"], trust_root),
    )
    lane = Lane(
        policies, trust_root, books, recorder, links, _clock, CrashPoint(options.testing_only_crash_at)
    )
    anchoring = Anchoring(recorder, links, timedelta(seconds=config["anchor_every_s"]), _clock)
    credentials = Credentials(books, recorder)
    sessions = Sessions(policies[-1], trust_root, books, recorder, credentials, _clock, _clock())
    _adopt(recorder, policies, books)
    sessions.revoke()
    desk = Desk(lane, sessions)
    changes = Changes(desk, options.state / "policies")
    return desk, changes, anchoring, _stamping(recorder, config), programs


def _watcher(configured: str | None, believed: TrustRoot) -> Path | None:
    """Return where the watcher listens; it is there exactly if the trust root names one."""
    if (configured is None) != (believed.watcher is None):
        raise ConfigError("watcher: a socket is expected if, and only if, the trust root names a watcher")
    return None if configured is None else Path(configured)


def _observers(configured: object, recorder: Recorder) -> Observers:
    """Return the links to the observers; they lead in the order of their names."""
    believed = recorder.trust_root
    if not isinstance(configured, dict) or not set(configured) <= set(believed.observers):
        raise ConfigError("observers: sockets by the names of the trust root are expected")
    if len(configured) < believed.observer_quorum:
        raise ConfigError(f"{len(configured)} observers, the trust root demands {believed.observer_quorum}")

    def notice(name: str, lead: str, refused: RefusedError) -> None:
        about = f"{name} after {lead}" if name != lead else name
        recorder.refusal(refused, actor="service", about=f"observer {about}")

    sockets = {name: Path(str(configured[name])) for name in sorted(configured)}
    return Observers(sockets, believed, notice)


def _stamping(recorder: Recorder, config: dict[str, Any]) -> Stamping:
    return Stamping(
        newest=recorder.ledger.newest_checkpoint,
        stamps=recorder.stamps,
        trust_root=recorder.witnesses.trust_root,
        addresses=config["timestamp"],
        every=timedelta(seconds=config["timestamp_every_s"]),
        clock=_clock,
        nonce=lambda: secrets.randbits(NONCE_BITS),
    )


def _adopt(recorder: Recorder, policies: list[PolicySet], books: Books) -> None:
    """Record each policy set that the ledger does not know, by digest; the sets themselves are files."""
    known = {entry.id for entry in books.changes if entry.type in {Event.ADOPTED, Event.ACTIVATED}}
    for policy in policies:
        if policy.digest not in known:
            signatures = [each.dump() for each in policy.signatures]
            data = {"manifest": policy.manifest.dump(), "signatures": signatures}
            recorder.append(Event.ADOPTED.value, policy.digest, data, actor="service")


def _in_force(kept: list[PolicySet], recorder: Recorder, books: Books, folder: Path) -> list[PolicySet]:
    """Return the chain that the ledger says, and make the files that a crash has prevented."""
    policies = in_force(kept, recorder, books.changes)
    for policy in policies:
        if policy.digest not in {each.digest for each in kept}:
            keep(folder, policy)
    return policies


def _policies(folder: Path) -> list[PolicySet]:
    paths = sorted(folder.glob("*.json")) if folder.is_dir() else []
    if not paths:
        raise ConfigError(f"{folder}: no policy set")
    return [PolicySet.load(parse(path.read_bytes(), limit=DOCUMENT_MAX)) for path in paths]


def _clock() -> datetime:
    return datetime.now(UTC)


if __name__ == "__main__":
    os.umask(0o077)
    sys.exit(main())
