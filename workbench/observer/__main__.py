"""The observer's process: nodes, anvil, token and trust root in; a unix socket out.

State root: config.json, pin, token. Requests are {"v": 1, "operation": ..., fields}, answers {"result": ...}
or {"error": {"code", "detail"}}:
* status -> {"observer", "chain_id", "block", "nodes"}: which of them are asked at present
* events {run, after} -> {"run", "events"}: what happened to the nodes, signed, behind a number of this run
* attest {accounts, block} -> attestation, header, accounts with proofs; crash point 2. `block` is null for
  the newest, or the {number, hash} that another observer has just called that
* pool {factory, token_in, token_out, fee, amount} -> the same with the slots that this swap depends on
* prices {base, quote} -> signed quotes, one a configured source
* allowances {owners, tokens, since, spenders} -> signed rights of others in these accounts
* simulate {step, transactions, target, accounts, block} -> a signed simulation; step 3 is before approval, 4
  before signing, and the crash point has the step's number
* broadcast {raw, by, last_block} -> {"tx_hash"}; by "nodes", without a last block, or by "relay"; crash
  points 5-before and 5-after
* recall {tx_hash} -> {"tx_hash"}: the relay has forgotten it
* confirm {tx_hash} -> status, with proofs when mined; crash point 6
* descent {number, hash, ancestors} -> {"descent"}: proofs that a block comes from older ones
* finality -> {"safe", "finalized"}: headers, attested

Codes: "request" (it cannot be answered as asked), "block" (the nodes have another block at that height),
"chain" (the nodes did not give the fact), "simulation" (not every effect could be told). Whoever may connect
may ask, and gets only what the chain shows.
"""

import argparse
import os
import re
import secrets
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from ledger.encoding import EncodingError
from workbench.chain import anvil
from workbench.chain.allowances import Asked
from workbench.chain.errors import ChainError, OtherBlockError, SimulationError
from workbench.chain.node import Node
from workbench.chain.nodes import Nodes
from workbench.chain.relay import Relay
from workbench.chain.simulator import Simulator
from workbench.custody.errors import TokenError
from workbench.custody.token import Token, opened
from workbench.evm.errors import EvmError
from workbench.evm.fields import HASH_BYTES, from_decimal, from_hex
from workbench.observer.core import Journal, Observer
from workbench.observer.feeds import configured
from workbench.process.config import ConfigError, StateRoot, arguments
from workbench.process.crash import CrashPoint
from workbench.process.frames import FrameError, FrameServer
from workbench.risk.errors import RiskError
from workbench.risk.venue import Venue
from workbench.rules.codes import RefusedError
from workbench.rules.trust import TrustRoot

CONFIG: Final = (
    "anvil",
    "feeds",
    "identity_key",
    "name",
    "nodes",
    "peers",
    "relay",
    "token",
)
RELAY: Final = {"hints", "key", "url"}
NODE_NAME: Final = re.compile(r"[A-Za-z0-9-]{1,64}")
NODES_MIN: Final = 3  # in production: of two, each could stop everything, and of one there is no quorum
SIMULATION_STEPS: Final = (3, 4)
DETAIL_CHARS_MAX: Final = 500

Message = dict[str, Any]


class RequestError(Exception):
    """A request that cannot be answered as it was asked."""


@dataclass(frozen=True, slots=True)
class Desk:
    """Answers requests; the crash points stand where a step's work would be lost."""

    observer: Observer
    crash: CrashPoint

    def handle(self, request: Message) -> Message:
        """Return the answer to one request."""
        try:
            return {"result": self._answer(request)}
        except SimulationError as error:
            return _error("simulation", error)
        except OtherBlockError as error:
            return _error("block", error)
        except ChainError as error:
            return _error("chain", error)
        except (RequestError, EvmError, RiskError, EncodingError) as error:
            return _error("request", error)

    def _answer(self, request: Message) -> Message:
        operations: Mapping[object, tuple[Callable[[Message], Message], frozenset[str]]] = {
            "status": (self._status, frozenset()),
            "events": (self._events, frozenset({"run", "after"})),
            "attest": (self._attest, frozenset({"accounts", "block"})),
            "pool": (self._pool, frozenset({"factory", "token_in", "token_out", "fee", "amount"})),
            "safe": (self._safe, frozenset({"safe", "accounts"})),
            "prices": (self._prices, frozenset({"base", "quote"})),
            "allowances": (self._allowances, frozenset({"owners", "tokens", "since", "spenders"})),
            "simulate": (self._simulate, frozenset({"step", "transactions", "target", "accounts", "block"})),
            "broadcast": (self._broadcast, frozenset({"raw", "by", "last_block"})),
            "recall": (self._recall, frozenset({"tx_hash"})),
            "confirm": (self._confirm, frozenset({"tx_hash"})),
            "descent": (self._descent, frozenset({"number", "hash", "ancestors"})),
            "finality": (self._finality, frozenset()),
        }
        operation = request.get("operation")
        version = request.get("v")
        if (
            type(version) is not int
            or version != 1
            or not isinstance(operation, str)
            or operation not in operations
        ):
            raise RequestError(f"operation {operation!r:.60}, expected one of {sorted(map(str, operations))}")
        answer, expected = operations[operation]
        fields = {name: value for name, value in request.items() if name not in ("v", "operation")}
        if set(fields) != expected:
            raise RequestError(f"{operation}: fields {sorted(fields)}, expected {sorted(expected)}")
        return answer(fields)

    def _status(self, _: Message) -> Message:
        head = self.observer.nodes.head().header
        return {
            "observer": self.observer.name,
            "chain_id": self.observer.nodes.chain_id,
            "block": head.number,
            "nodes": self.observer.nodes.standing(),
        }

    def _events(self, fields: Message) -> Message:
        run, after = _text(fields["run"]), fields["after"]
        if type(after) is not int:
            raise RequestError(f"after {after!r:.20}")
        self.observer.watch()
        journal = self.observer.journal
        return {"run": journal.run, "events": journal.after(run, after)}

    def _attest(self, fields: Message) -> Message:
        self.crash.reached("2")
        accounts = [_text(address) for address in _list(fields["accounts"])]
        return self.observer.attest(accounts, _block(fields["block"]))

    def _pool(self, fields: Message) -> Message:
        token_in, fee = _text(fields["token_in"]), fields["fee"]
        if type(fee) is not int:
            raise RequestError(f"fee {fee!r:.20}")
        venue = Venue.of(_text(fields["factory"]), token_in, _text(fields["token_out"]), fee)
        return self.observer.pool(venue, token_in=token_in, amount_in=_amount(fields["amount"]))

    def _safe(self, fields: Message) -> Message:
        accounts = [_text(address) for address in _list(fields["accounts"])]
        return self.observer.safe(_text(fields["safe"]), accounts)

    def _prices(self, fields: Message) -> Message:
        return self.observer.prices(_text(fields["base"]), _text(fields["quote"]))

    def _allowances(self, fields: Message) -> Message:
        since = fields["since"]
        if type(since) is not int:
            raise RequestError(f"since {since!r:.20}")
        owners, tokens, spenders = (
            tuple(_text(each) for each in _list(fields[name])) for name in ("owners", "tokens", "spenders")
        )
        return self.observer.allowances(Asked(owners=owners, tokens=tokens, since=since, spenders=spenders))

    def _simulate(self, fields: Message) -> Message:
        step, target = fields["step"], fields["target"]
        if step not in SIMULATION_STEPS or type(target) is not int:
            raise RequestError(f"step {step!r:.20}, target {target!r:.20}")
        self.crash.reached(str(step))
        transactions = _list(fields["transactions"])
        if not all(isinstance(each, dict) for each in transactions):
            raise RequestError("transactions are objects")
        accounts = [_text(address) for address in _list(fields["accounts"])]
        return self.observer.simulate(transactions, target, accounts, _block(fields["block"]))

    def _broadcast(self, fields: Message) -> Message:
        raw, by, last_block = _hex(fields["raw"]), _text(fields["by"]), fields["last_block"]
        if (by, type(last_block)) not in {("nodes", type(None)), ("relay", int)}:
            raise RequestError(f"by {by!r:.20} until block {last_block!r:.20}")
        self.crash.reached("5-before")
        result = self.observer.relayed(raw, last_block) if by == "relay" else self.observer.broadcast(raw)
        # A crash here has sent the bytes and told nobody: asking again finds them known.
        self.crash.reached("5-after")
        return result

    def _descent(self, fields: Message) -> Message:
        number, ancestors = fields["number"], _list(fields["ancestors"])
        if not all(type(each) is int for each in (number, *ancestors)):
            raise RequestError("numbers of blocks are expected")
        return self.observer.descent(number, _hex(fields["hash"]), ancestors)

    def _finality(self, _: Message) -> Message:
        return self.observer.finality()

    def _confirm(self, fields: Message) -> Message:
        self.crash.reached("6")
        return self.observer.confirm(_hash(fields["tx_hash"]))

    def _recall(self, fields: Message) -> Message:
        return self.observer.recall(_hash(fields["tx_hash"]))


def main() -> int:
    """Serve until ended; exit code 2 when the process cannot start."""
    parser = arguments("Observer: attests, simulates, broadcasts, confirms; signs what it saw, nothing else.")
    try:
        server = _server(parser.parse_args())
    except (ConfigError, TokenError, FrameError, RefusedError, ChainError, OSError, ValueError) as error:
        print(f"observer: {error}", file=sys.stderr)
        return 2
    server.serve_forever()
    return 0


def _server(options: argparse.Namespace) -> FrameServer:
    root = StateRoot(options.state)
    config = root.config(CONFIG)
    believed = TrustRoot.read(options.trust_root.read_bytes())
    if options.testing_only_crash_at is not None and believed.profile != "demo":
        raise ConfigError("--testing-only-crash-at is refused under a production trust root")
    # An observer whose key nobody believes would only be found out at the first signature.
    if believed.observers.get(config["name"]) != config["identity_key"]:
        raise ConfigError(f"the trust root does not know {config['name']} with this key")
    addresses = _addresses(config["nodes"], believed)
    # without it every simulation would fail, one by one, in front of people
    anvil.require(Path(config["anvil"]))
    token = opened(options.state, config["token"], pin=root.pin, clock=_clock)
    signer = token.ed25519(bytes.fromhex(config["identity_key"]))
    journal = Journal(config["name"], signer, _clock, secrets.token_hex(16))
    observer = Observer(
        name=config["name"],
        signer=signer,
        nodes=Nodes(
            {name: Node(url) for name, url in addresses.items()},
            quorum=believed.node_quorum,
            chain_id=believed.chain_id,
            report=journal.add,
        ),
        journal=journal,
        simulator=Simulator(Path(config["anvil"])),
        clock=_clock,
        feeds=configured(config["feeds"]),
        relay=_relay(config["relay"], believed, token),
    )
    desk = Desk(observer, CrashPoint(options.testing_only_crash_at))
    return FrameServer(options.socket, desk.handle, uids={os.geteuid(), *config["peers"]})


def _addresses(configured: object, believed: TrustRoot) -> dict[str, str]:
    if not isinstance(configured, dict) or not all(
        NODE_NAME.fullmatch(name) and isinstance(url, str) for name, url in configured.items()
    ):
        raise ConfigError("nodes: an object of names (letters, digits, dashes) and addresses is expected")
    if believed.profile != "demo" and len(configured) < NODES_MIN:
        raise ConfigError(f"{len(configured)} nodes, at least {NODES_MIN} under a production trust root")
    return configured


def _relay(configured: object, believed: TrustRoot, token: Token) -> Relay | None:
    if configured is None:
        return None
    if not isinstance(configured, dict) or set(configured) != RELAY:
        raise ConfigError(f"relay: null or an object of {sorted(RELAY)} is expected")
    url, hints = configured["url"], configured["hints"]
    if not isinstance(url, str) or not isinstance(hints, list) or not all(isinstance(h, str) for h in hints):
        raise ConfigError("relay: an address and a list of hints are expected")
    # on the way there the bytes are as readable as in a pool
    if believed.profile != "demo" and not url.startswith("https://"):
        raise ConfigError("relay: only https:// under a production trust root")
    return Relay(url=url, key=token.secp256k1(bytes.fromhex(configured["key"])), hints=tuple(hints))


def _clock() -> datetime:
    return datetime.now(UTC)


def _error(code: str, error: Exception) -> Message:
    # Part of the text may be a node's; it must fit a frame and be text.
    detail = str(error)[:DETAIL_CHARS_MAX].encode(errors="replace").decode()
    return {"error": {"code": code, "detail": detail}}


def _list(value: object) -> list[Any]:
    if not isinstance(value, list):
        raise RequestError(f"a list was expected, got {type(value).__name__}")
    return value


def _block(value: object) -> tuple[int, bytes] | None:
    if value is None:
        return None
    if not isinstance(value, dict) or set(value) != {"number", "hash"} or type(value["number"]) is not int:
        raise RequestError("block: null, or a number and a hash")
    return value["number"], _hex(value["hash"])


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise RequestError(f"text was expected, got {type(value).__name__}")
    return value


def _hash(value: object) -> bytes:
    raw = _hex(value)
    if len(raw) != HASH_BYTES:
        raise RequestError(f"a transaction hash has {HASH_BYTES} bytes, got {len(raw)}")
    return raw


def _amount(value: object) -> int:
    try:
        return from_decimal(_text(value))
    except ValueError as error:
        raise RequestError(str(error)) from error


def _hex(value: object) -> bytes:
    try:
        return from_hex(_text(value))
    except ValueError as error:
        raise RequestError(str(error)) from error


if __name__ == "__main__":
    sys.exit(main())
