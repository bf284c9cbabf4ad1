"""Make one process's token and keys: run as a process of its own, since a process opens one token.

Prints {"serial": the token's, "ed25519": hex} and, when asked, {"secp256k1": hex}: public parts only. That
one is for what a chain knows: an account's key, or one that signs to a relay who asks. {"sealing": name} is
the key under which shares of keys lie; {"recovery": name, "modulus": hex} the pair to which backups of them
are sealed.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from workbench.custody.attempts import Attempts
from workbench.custody.config import softhsm
from workbench.custody.errors import TokenError
from workbench.custody.token import Token, create_softhsm
from workbench.process.config import PIN_FILE
from workbench.rules.codes import Refusal

SECONDS = 60


def provision(
    folder: Path,
    label: str,
    *,
    secp256k1: str | None = None,
    sealing: str | None = None,
    recovery: str | None = None,
) -> dict[str, str]:
    """Make a state root with a token in it, in a fresh process; return the public keys in hex."""
    command = [sys.executable, "-m", "workbench.demo.provision", str(folder), label]
    command += ["--secp256k1", secp256k1] if secp256k1 else []
    command += ["--sealing", sealing] if sealing else []
    command += ["--recovery", recovery] if recovery else []
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=SECONDS)
    if done.returncode != 0:
        raise TokenError(Refusal.HSM_FAILED, done.stderr.strip())
    keys: dict[str, str] = json.loads(done.stdout)
    return keys


def configured(label: str, serial: str) -> dict[str, Any]:
    """Return what stands in a process's configuration of the token that lies in its state root."""
    return {"module": None, "environment": {}, "label": label, "serial": serial, "pin": PIN_FILE}


def main() -> int:
    """Make the folder, the PIN file, the token and the keys."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("label")
    parser.add_argument("--secp256k1", metavar="LABEL")
    parser.add_argument("--sealing", metavar="LABEL")
    parser.add_argument("--recovery", metavar="LABEL")
    options = parser.parse_args()
    folder: Path = options.folder
    folder.parent.mkdir(mode=0o700, exist_ok=True)
    folder.mkdir(mode=0o700)
    pin = secrets.token_hex(8)
    descriptor = os.open(folder / "pin", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400)
    with os.fdopen(descriptor, "w") as file:
        file.write(pin)
    try:
        create_softhsm(folder, label=options.label, pin=pin, so_pin=secrets.token_hex(8))
        config = softhsm(folder, label=options.label)
        token = Token(config, pin=pin, tries=Attempts(folder, lambda: datetime.now(UTC)))
        keys = {"serial": token.about["serial"]}
        keys |= {"ed25519": token.generate_ed25519("identity/1").public_key.hex()}
        if options.secp256k1:
            keys["secp256k1"] = token.generate_secp256k1(options.secp256k1).public_key.hex()
        if options.sealing:
            keys["sealing"] = str(token.generate_sealing(options.sealing).name)
        if options.recovery:
            keys["recovery"] = token.generate_recovery(options.recovery)
            keys["modulus"] = token.modulus(keys["recovery"])
    except TokenError as error:
        print(error, file=sys.stderr)
        return 2
    print(json.dumps(keys))
    return 0


if __name__ == "__main__":
    sys.exit(main())
