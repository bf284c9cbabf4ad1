"""The command `stamp`: ask an authority for a time-stamp of a checkpoint, verify it, and only then write it.

Anyone can run it who has a note and a trust root that names the authority: an auditor need not wait for the
desk. A file that is there already is left alone.
"""

import argparse
import secrets
from pathlib import Path
from typing import Any

from ledger import files, timestamp_client
from ledger.checkpoint import NOTE_MAX
from ledger.verifier import read_trust_root

WRITTEN = 0
TIMEOUT_S = 30.0
NONCE_BITS = 64
NOTE_BYTES_MAX = 4 * NOTE_MAX  # as many bytes as UTF-8 may need for a note


def add_command(commands: Any) -> None:  # noqa: ANN401 - argparse does not export the type
    """Add `stamp`."""
    summary = "Ask an authority for a time-stamp of a checkpoint; write it if it holds."
    added: argparse.ArgumentParser = commands.add_parser("stamp", help=summary, description=summary)
    added.add_argument("note", type=Path, metavar="NOTE", help="the checkpoint's signed note")
    added.add_argument("--authority", required=True, metavar="NAME", help="its name in the trust root")
    added.add_argument("--url", required=True, help="http://HOST/PATH or https://HOST/PATH")
    added.add_argument("--keys", type=Path, metavar="TRUSTROOT", required=True, help="your own trust root")
    added.add_argument("--out", type=Path, metavar="FILE", required=True, help="the new file")
    added.set_defaults(run=_stamp, json=False)


def _stamp(options: argparse.Namespace) -> int:
    trust_root = read_trust_root(options.keys)
    with options.note.open("rb") as file:
        note = file.read(NOTE_BYTES_MAX).decode()
    raw, stamped = timestamp_client.ask(
        options.url,
        trust_root.authorities,
        authority=options.authority,
        checkpoint=trust_root.verify(note),
        nonce=secrets.randbits(NONCE_BITS),
        timeout_s=TIMEOUT_S,
    )
    files.create(options.out, raw)
    print(f"stamped: size {stamped.size} by {stamped.authority} at {stamped.time:%Y-%m-%d %H:%M:%S} UTC")
    return WRITTEN
