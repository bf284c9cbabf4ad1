"""What a signer says of one token's keys, in a process of its own: a process opens one token.

Usage: python -m tests.ledger.token_child FOLDER [LABEL]; prints one JSON object {name: refusal, "" if it
signs}. Without a label it first makes the keys.
"""

import json
import os
import sys
import threading
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from pkcs11 import Attribute, KeyType, Mechanism, MechanismFlag, ObjectClass
from pkcs11.util.ec import encode_named_curve_parameters

from ledger import signer
from ledger.signer import SignerError
from tests.hsm import open_softhsm
from workbench.custody.config import softhsm_module

LABEL = "signer"
MODULE = softhsm_module()
ED25519 = {Attribute.EC_PARAMS: encode_named_curve_parameters("1.3.101.112")}
THREADS, SIGNATURES = 4, 50


def make(folder: Path) -> None:
    """Put into the token what a signer must not take for its key."""
    token = open_softhsm(folder, LABEL, (folder / "pin").read_text())
    token.generate_ed25519("twin")
    token.generate_ed25519("twin")
    token.generate_secp256k1("curve")
    session: Any = token._session
    domain = session.create_domain_parameters(KeyType.EC_EDWARDS, ED25519, local=True)

    def generate(label: str, capabilities: MechanismFlag, **template: bool) -> Any:
        private = {Attribute[name]: value for name, value in template.items()}
        return domain.generate_keypair(
            label=label,
            store=True,
            mechanism=Mechanism.EC_EDWARDS_KEY_PAIR_GEN,
            capabilities=capabilities,
            private_template=private,
        )

    both = MechanismFlag.SIGN | MechanismFlag.VERIFY
    generate("good", both, SENSITIVE=True, EXTRACTABLE=False)
    generate("loose", both, SENSITIVE=True, EXTRACTABLE=True)
    generate("plain", both, SENSITIVE=False, EXTRACTABLE=False)
    generate("mute", MechanismFlag.DERIVE, SENSITIVE=True, EXTRACTABLE=False, SIGN=False)
    generate("halved", both, SENSITIVE=True, EXTRACTABLE=False)[0].destroy()
    public = generate("swapped", both, SENSITIVE=True, EXTRACTABLE=False)[0]
    public.destroy()
    other = Ed25519PrivateKey.generate().public_key().public_bytes_raw()
    session.create_object(
        {
            Attribute.CLASS: ObjectClass.PUBLIC_KEY,
            Attribute.KEY_TYPE: KeyType.EC_EDWARDS,
            Attribute.TOKEN: True,
            Attribute.LABEL: "swapped",
            Attribute.EC_POINT: signer.POINT_HEADER + other,
            **ED25519,
        }
    )
    token.close()


def refusal(uri: str, pin_file: Path) -> str:
    """Return what opening a key is refused with; opening it is the empty text."""
    try:
        signer.open_key(uri, pin_file=pin_file)
    except SignerError as error:
        return str(error)
    return ""


def main(folder: Path) -> dict[str, Any]:
    """Open everything wrongly, then rightly, then sign from several threads."""
    make(folder)
    pin = folder / "pin"
    wrong = folder / "wrong"
    wrong.touch(mode=0o600)
    wrong.write_text("0000")
    uris = {
        "no such module": f"pkcs11:/nowhere/libhsm.so?token={LABEL}&object=good",
        "no module": f"pkcs11:/etc/passwd?token={LABEL}&object=good",
        "no such token": f"pkcs11:{MODULE}?token=other&object=good",
        **{name: f"pkcs11:{MODULE}?token={LABEL}&object={name}" for name in OBJECTS},
    }
    said = {name: refusal(uri, pin) for name, uri in uris.items()}
    good = f"pkcs11:{MODULE}?token={LABEL}&object=good"
    said["wrong PIN"] = refusal(good, wrong)
    opened = signer.open_key(good, pin_file=pin)
    said["opened twice"] = refusal(good, pin)
    done: list[int] = []

    def work(number: int) -> None:
        verifier = Ed25519PublicKey.from_public_bytes(opened.public_key)
        for index in range(SIGNATURES):
            message = bytes([number, index])
            verifier.verify(opened.sign(message), message)
        done.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return said | {"threads": len(done), "public key": len(opened.public_key)}


OBJECTS = ("missing", "twin", "curve", "loose", "plain", "halved")

if __name__ == "__main__":
    place, *labels = Path(sys.argv[1]), *sys.argv[2:]
    # A key that opens and does not sign keeps the token's one session: a process for each.
    os.environ["SOFTHSM2_CONF"] = str(place / "softhsm2.conf")
    said = {
        label: refusal(f"pkcs11:{MODULE}?token={LABEL}&object={label}", place / "pin") for label in labels
    }
    print(json.dumps(said or main(place)))  # noqa: T201 - the parent reads it
