"""What a process reads at start: its state root, its PIN, the trust root, its peers.

Every file is checked before it is believed: a PIN that others can read, a state
root that belongs to somebody else, or an unknown field stops the process.

A PIN's source is `file:PATH` (in the state root, or absolute), or `credential:NAME` for one that systemd
hands over (LoadCredential=). Others may read the environment and the command line, so neither is one.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PIN_MODE_MAX = 0o600
CREDENTIAL_MODE_MAX = 0o440
PIN_BYTES_MAX = 256
PIN_FILE = "file:pin"
CREDENTIALS = "CREDENTIALS_DIRECTORY"
NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,254}")


class ConfigError(Exception):
    """The process cannot start as it was configured; the message says what to mend."""


@dataclass(frozen=True, slots=True)
class StateRoot:
    """One process's folder: its memory, its token, its configuration."""

    path: Path

    def __post_init__(self) -> None:
        if not self.path.is_dir():
            raise ConfigError(f"{self.path}: no such state root; `workbench demo` makes one")
        status = self.path.stat()
        if status.st_uid != os.geteuid():
            raise ConfigError(f"{self.path}: belongs to uid {status.st_uid}, this process is {os.geteuid()}")
        if status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise ConfigError(f"{self.path}: mode {stat.filemode(status.st_mode)}, only the owner may enter")

    def pin(self, source: str = PIN_FILE) -> str:
        """Return the token's PIN from where nobody else can read it, as its vendor wants it."""
        kind, _, name = source.partition(":")
        if kind == "file" and name:
            path, mode_max, owners = self.path / name, PIN_MODE_MAX, {os.geteuid()}
        elif kind == "credential" and NAME.fullmatch(name):
            # systemd's are root's, with an ACL that shows as the group's mode, or the user's own
            path, mode_max, owners = _credentials() / name, CREDENTIAL_MODE_MAX, {0, os.geteuid()}
            # of two PINs one is a left-over that lies on a disk in the clear
            if (self.path / "pin").exists():
                raise ConfigError(f"{self.path / 'pin'} and {path}: two PINs; remove the file")
        else:
            raise ConfigError(f"a PIN's source is file:PATH or credential:NAME, not {source!r:.80}")
        try:
            status = path.stat()
            raw = path.read_bytes()[: PIN_BYTES_MAX + 2]
        except OSError as error:
            raise ConfigError(f"{path}: {error.strerror}") from error
        if status.st_mode & 0o777 & ~mode_max or status.st_uid not in owners:
            raise ConfigError(f"{path}: others may read the PIN; chmod 400 it")
        return _pin(path, raw)

    def config(self, fields: Iterable[str]) -> dict[str, Any]:
        """Return config.json, which must hold exactly these fields."""
        path = self.path / "config.json"
        try:
            value = json.loads(path.read_text())
        except (OSError, ValueError) as error:
            raise ConfigError(f"{path}: {error}") from error
        expected = set(fields)
        if not isinstance(value, dict) or set(value) != expected:
            got = sorted(value) if isinstance(value, dict) else type(value).__name__
            raise ConfigError(f"{path}: fields {got}, expected {sorted(expected)}")
        return value


def _credentials() -> Path:
    folder = Path(os.environ.get(CREDENTIALS, ""))
    if not folder.is_absolute():
        raise ConfigError(f"no {CREDENTIALS}: systemd hands over no credentials here")
    return folder


def _pin(path: Path, raw: bytes) -> str:
    try:
        # one line feed is the editor's; blanks may be the password's
        pin = raw.decode().removesuffix("\n")
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: a PIN that is not UTF-8") from None
    if not pin.strip() or len(pin) > PIN_BYTES_MAX or not pin.isprintable():
        raise ConfigError(f"{path}: a PIN of {len(pin)} characters, or of none that count")
    return pin


def arguments(description: str) -> argparse.ArgumentParser:
    """Return the options that every process has."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--state", type=Path, required=True, help="this process's own state root")
    parser.add_argument(
        "--trust-root", type=Path, required=True, help="the trust root, as distributed by hand"
    )
    parser.add_argument("--socket", type=Path, required=True, help="the unix socket to listen on")
    parser.add_argument(
        "--testing-only-crash-at",
        metavar="STEP",
        help="end the process at this point as kill -9 would; refused under a production trust root",
    )
    return parser
