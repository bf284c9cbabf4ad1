"""What another token than SoftHSM's does with the same code, in a process of its own.

Usage: python -m tests.custody.portability_child TASK FOLDER CONFIG PIN; prints one JSON object.
"""

import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pkcs11
from pkcs11 import Attribute, KeyType, MechanismFlag
from pkcs11.util.ec import encode_named_curve_parameters

from tests.custody.child import refusal
from workbench.custody import sealing
from workbench.custody.errors import TokenError
from workbench.custody.library import attest, attribute
from workbench.custody.sealing import Sealing, SealingKey, SealingName, sealing_key
from workbench.custody.token import REQUIRED, SEALING_REQUIRED, Token, opened
from workbench.evm.transaction import signature_for


def found(config: dict[str, Any]) -> dict[str, Any]:
    """Give an NSS database its PIN, as its own tools would."""
    token = pkcs11.lib(config["module"]).get_token(token_label=config["label"])
    session = token.open(rw=True, so_pin="")
    session.init_pin(sys.argv[4])
    session.close()
    return {}


def open_token(folder: Path, config: dict[str, Any]) -> Token:
    """Open it as a process would."""
    return opened(folder, config, pin=lambda _: sys.argv[4], clock=lambda: datetime.now(UTC))


def objects(token: Token) -> int:
    """Return how many objects the token shows."""
    return len(list(token._session.get_objects({})))


def probed(folder: Path, config: dict[str, Any]) -> dict[str, Any]:
    """Say what it can do, and what that leaves behind."""
    token = open_token(folder, config)
    before = objects(token)
    told = token.capabilities()
    return {
        "words": told.words,
        "sealing": told.sealing,
        "objects": objects(token) - before,
        "listed": [trial.name for trial in told.trials if trial.is_listed],
        "said": {trial.name: trial.said for trial in told.trials},
    }


def keys(folder: Path, config: dict[str, Any]) -> dict[str, Any]:
    """Make the keys that a process needs."""
    token = open_token(folder, config)
    before = objects(token)
    said = {
        "secp256k1": refusal(lambda: token.generate_secp256k1("treasury/1")),
        "ed25519": refusal(lambda: token.generate_ed25519("identity/1")),
        "sealing": refusal(lambda: token.generate_sealing("seal/1")),
        "pair": refusal(lambda: token.generate_sealing("seal/2", Sealing.RSA_OAEP_SHA1)),
        "wraps": refusal(lambda: token.generate_sealing("seal/3", Sealing.AES_KEY_WRAP_PAD)),
    }
    left = objects(token) - before
    domain = token._session.create_domain_parameters(
        KeyType.EC, {Attribute.EC_PARAMS: encode_named_curve_parameters("secp256r1")}, local=True
    )
    _, private = domain.generate_keypair(
        label="p256",
        store=True,
        capabilities=MechanismFlag.SIGN | MechanismFlag.VERIFY,
        private_template={Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: False, Attribute.PRIVATE: True},
    )
    secret = sealing.generate(token._session, Sealing.AES_GCM, label="aes", store=True)
    return {
        **said,
        "left": left,
        "claims": {name.name: attribute(private, name) for name in REQUIRED},
        "p256": refusal(lambda: attest(private, REQUIRED, "p256")),
        "aes": refusal(lambda: attest(secret, SEALING_REQUIRED, "aes")),
        "missing": attribute(private, Attribute.COPYABLE),
    }


def seals(folder: Path, config: dict[str, Any]) -> dict[str, Any]:
    """Seal by the mechanisms that SoftHSM has not, with keys of the session."""
    token = open_token(folder, config)
    told = {}
    for mechanism in (Sealing.RSA_OAEP_SHA256, Sealing.AES_KEY_WRAP_PAD):
        made = sealing.generate(token._session, mechanism, label="seal", store=False)
        halves = made if mechanism.is_pair else (made, made)
        name = SealingName(mechanism, b"\1" * 16)
        told[mechanism.value] = _tried(sealing_key(name, *halves))
    return told


def _tried(key: SealingKey) -> dict[str, Any]:
    envelope = key.seal(b"k" * 32, b"this")
    other = next(each.value for each in Sealing if each is not key.name.mechanism)
    flipped = ("ff" if envelope.wrapped[:2] == "00" else "00") + envelope.wrapped[2:]
    changed = {
        "another purpose": (envelope, b"that"),
        "another mechanism": (envelope.model_copy(update={"mechanism": other}), b"this"),
        "another key": (envelope.model_copy(update={"key": "02" * 16}), b"this"),
        "parameters": (envelope.model_copy(update={"parameters": {"hash": "MD5"}}), b"this"),
        "altered": (envelope.model_copy(update={"wrapped": flipped}), b"this"),
        "cut": (envelope.model_copy(update={"wrapped": envelope.wrapped[:-16]}), b"this"),
    }
    return {
        "opens": key.open(envelope, b"this") == b"k" * 32,
        "parameters": envelope.parameters,
        "wrapped": len(envelope.wrapped) // 2,
        "refused": {name: _code(key, *each) for name, each in changed.items()},
    }


def _code(key: SealingKey, envelope: sealing.Envelope, associated: bytes) -> str:
    try:
        key.open(envelope, associated)
    except TokenError as error:
        return error.code.value
    return ""


def remote(folder: Path, config: dict[str, Any]) -> dict[str, Any]:
    """Use a SoftHSM that another process holds: sign with its key, make one, seal."""
    token = open_token(folder, config)
    public_key = bytes.fromhex((folder / "public-key").read_text())
    digest = b"\7" * 32
    for key in (token.secp256k1(public_key), token.generate_secp256k1("treasury/2")):
        signature_for(digest, key.sign_digest(digest), key.public_key)
    seal = token.generate_sealing("seal/1")
    envelope = seal.seal(b"k" * 32, b"this")
    again = token.sealing(str(seal.name))
    return {
        "mechanism": seal.name.mechanism,
        "opens": again.open(envelope, b"this") == b"k" * 32,
        "purpose": _code(again, envelope, b"that"),
        "ed25519": refusal(lambda: token.generate_ed25519("identity/2")),
        "environment": "SOFTHSM2_CONF" in config["environment"],
    }


def both(folder: Path, config: dict[str, Any]) -> dict[str, Any]:
    """Name the token by its serial, which NSS gives to both of its tokens."""
    serial = config | {"label": None, "serial": "0" * 16}
    return {"said": refusal(lambda: open_token(folder, serial))}


TASKS = {each.__name__: each for each in (probed, keys, seals, remote, both)}

if __name__ == "__main__":
    place, settings = Path(sys.argv[2]), json.loads(sys.argv[3])
    task = sys.argv[1]
    print(json.dumps(found(settings) if task == "found" else TASKS[task](place, settings)))  # noqa: T201
