"""The commands about witnesses: run one, make its key, show who cosigned what, judge an equivocation."""

import argparse
import re
import signal
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ledger import checkpoint, signer, witness, witness_server
from ledger.checkpoint import CheckpointError, split
from ledger.encoding import EncodingError
from ledger.signer import SignerError
from ledger.trust import TrustRoot
from ledger.verifier import plain, read_trust_root
from ledger.witness import Witness, WitnessError
from ledger.witness_server import AddressError

PROVEN, NOT_PROVEN = 0, 1


class CouldNotRunError(Exception):
    """The command has nothing to work with."""


def add_commands(commands: Any) -> None:  # noqa: ANN401 - argparse does not export the type
    """Add `witness`, `witness-key` and `equivocation`."""
    added = _command(commands, "witness", "Run a witness, which cosigns checkpoints until it is ended.")
    added.add_argument("--state", type=Path, required=True, help="the folder of its memory")
    added.add_argument("--keys", type=Path, metavar="TRUSTROOT", required=True, help="your own trust root")
    added.add_argument("--name", required=True, help="its name in the trust root")
    added.add_argument(
        "--key", required=True, metavar="URI", help="file:PATH or pkcs11:MODULE?token=…&object=…"
    )
    added.add_argument("--pin-file", type=Path, help="the token's PIN, in a file that only you can read")
    added.add_argument("--found", action="store_true", help="begin the memory: once, at the first start")
    where = added.add_mutually_exclusive_group(required=True)
    where.add_argument("--socket", type=Path, help="listen on this unix socket")
    where.add_argument("--http", metavar="HOST:PORT", help="listen on this loopback address")
    added.set_defaults(run=_witness, json=False)
    added = _command(commands, "witness-key", "Make a witness's key file; print its public key.")
    added.add_argument("file", type=Path, metavar="FILE", help="the new file")
    added.set_defaults(run=_witness_key, json=False)
    added = _command(commands, "equivocation", "Judge an evidence file: exit 0 proven, 1 not proven.")
    added.add_argument("file", type=Path, metavar="FILE", help="the evidence")
    added.add_argument("--keys", type=Path, metavar="TRUSTROOT", required=True, help="your own trust root")
    added.set_defaults(run=_equivocation, json=False)


def _command(commands: Any, name: str, summary: str) -> argparse.ArgumentParser:  # noqa: ANN401 - as above
    added: argparse.ArgumentParser = commands.add_parser(name, help=summary, description=summary)
    return added


def told(note: str, trust_root: TrustRoot | None) -> tuple[list[str], bool]:
    """Return lines that say what a note is and who signed it, and whether it counts (unjudged: True)."""
    state, signatures = split(note)
    words = [f"{state.size}", f"  root   {state.root.hex()}", f"  chain  {state.chain.hex()}"]
    if trust_root is None:
        return [*words, *(f"  claims {signature.name}" for signature in signatures)], True
    try:
        for each in checkpoint.signers(note, trust_root.checkpoint_keys, trust_root.witnesses):
            at = f" at {each.at:%Y-%m-%d %H:%M:%S} UTC" if each.at else ""
            words.append(f"  {'cosigned by' if each.witness else 'signed by'} {each.name}{at}")
        trust_root.verify(note)
    except CheckpointError as error:
        return [*words, f"  DOES NOT COUNT: {error}"], False
    return [*words, f"  counts (witness quorum {trust_root.witness_quorum})"], True


def _witness(options: argparse.Namespace) -> int:
    try:
        served = _opened(options)
        try:
            server = witness_server.serve(served, path=options.socket, port=_port(options.http))
        except BaseException:
            served.close()
            raise
    except (SignerError, WitnessError, AddressError) as error:
        raise CouldNotRunError(str(error)) from error
    for number in (signal.SIGTERM, signal.SIGINT):
        # shutdown() waits for the loop that this thread runs: it must come from another one.
        signal.signal(number, lambda *_: threading.Thread(target=server.shutdown).start())
    size = served.status()["size"]
    print(f"witness {options.name}: size {size}, {server.address}", file=sys.stderr, flush=True)
    with server:
        server.serve_forever(poll_interval=0.1)
    # While the memory is held no successor can have put its own socket there.
    if options.socket is not None:
        options.socket.unlink(missing_ok=True)
    served.close()
    return PROVEN


def _opened(options: argparse.Namespace) -> Witness:
    trust_root = read_trust_root(options.keys)
    key = signer.open_key(options.key, pin_file=options.pin_file)
    # A key that the trust root does not have under this name would cosign for nobody.
    if trust_root.witnesses.get(options.name) != key.public_key:
        raise CouldNotRunError(f"the trust root has no witness {options.name!r:.80} with this key")
    if options.found:
        witness.found(options.state, origin=trust_root.origin, name=options.name)
    return Witness(
        options.state,
        name=options.name,
        public_key=key.public_key,
        sign=key.sign,
        trust_root=trust_root,
        now=lambda: datetime.now(UTC),
    )


def _witness_key(options: argparse.Namespace) -> int:
    try:
        print(signer.create_file(options.file).hex())
    except FileExistsError:
        raise CouldNotRunError(f"{options.file}: something is there already") from None
    return PROVEN


def _equivocation(options: argparse.Namespace) -> int:
    trust_root = read_trust_root(options.keys)
    try:
        with options.file.open("rb") as file:
            first, second = witness.parse_evidence(file.read(witness.FILE_MAX + 1))
        one, other = checkpoint.equivocation(first, second, trust_root.checkpoint_keys)
    except (CheckpointError, EncodingError) as error:
        # The words of a hostile file must not draw on the reader's terminal.
        print(f"not proven: {plain(str(error))}")
        return NOT_PROVEN
    # The same key may sign for several ledgers: this trust root judges one of them.
    if one.origin != trust_root.origin:
        print(f"not proven: evidence about {one.origin}, expected {trust_root.origin}")
        return NOT_PROVEN
    print(f"PROVEN: one key has signed two states of size {one.size} of {one.origin}")
    for state in (one, other):
        print(f"  root  {state.root.hex()}\n  chain {state.chain.hex()}")
    return PROVEN


def _port(spelling: str | None) -> tuple[str, int] | None:
    if spelling is None:
        return None
    host, _, port = spelling.rpartition(":")
    if not host or not re.fullmatch(r"0|[1-9][0-9]{0,4}", port):
        raise CouldNotRunError(f"{spelling!r:.80} is not HOST:PORT")
    return host, int(port)
