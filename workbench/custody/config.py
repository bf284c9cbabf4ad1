"""Which token a process opens: `token` in its config.json, and nothing else.

    {"module": PATH or null, "environment": {NAME: VALUE}, "label": LABEL or null, "serial": SERIAL or null,
     "pin": SOURCE}

(1) The module is an absolute path: a bare name would be searched for, and whose library is found gets the
    PIN. null is SoftHSM over the token in the state root itself, whose environment is ours to say.
(2) The environment is what the module's maker wants (`YUBIHSM_PKCS11_CONF`, …) and is set before the module
    is loaded. Names that steer the loader or Python are refused, and so is what looks like a place for a PIN.
(3) Label or serial, or both: exactly one token must match. A label is anybody's to give; the serial is what
    tells a token from another that was made to look like it, though not from a copy of a token's files.
(4) The PIN comes from a file that only this user may read, or from systemd's credentials
    (`process/config.py`), never from the environment or a command line, which others may read. Its form is
    the vendor's business: `user:password` and `0001password` pass through.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field

from workbench.custody.errors import TokenError
from workbench.rules.codes import Refusal
from workbench.rules.documents import Document

INSTALL_HINT = "install it with `make` or `apt-get install softhsm2`, or name another PKCS#11 module"
SOFTHSM_MODULES = (
    Path("/usr/lib/softhsm/libsofthsm2.so"),
    Path("/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so"),
    Path("/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so"),
)
SOFTHSM_CONF = "SOFTHSM2_CONF"
VARIABLE = re.compile(r"(?!LD_|PYTHON|PATH$)(?!.*(?:PIN|PASSWORD|SECRET))[A-Z][A-Z0-9_]{0,63}")
VARIABLES_MAX = 16
VALUE_MAX = 1024
LABEL_MAX, SERIAL_MAX = 32, 16
"""PKCS#11's own."""
Value = Annotated[str, Field(max_length=VALUE_MAX)]


class TokenFields(Document):
    """What stands in config.json under `token`."""

    module: str | None
    environment: Annotated[dict[str, Value], Field(max_length=VARIABLES_MAX)]
    label: Annotated[str, Field(min_length=1, max_length=LABEL_MAX)] | None
    serial: Annotated[str, Field(min_length=1, max_length=SERIAL_MAX)] | None
    pin: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenConfig:
    """One token: the module that reaches it, what the module needs, and how the token is recognised."""

    module: Path
    environment: Mapping[str, str]
    label: str | None = None
    serial: str | None = None

    def __post_init__(self) -> None:
        if self.label is None and self.serial is None:
            raise TokenError(Refusal.HSM, "neither label nor serial: any token would do")
        for name in self.environment:
            if VARIABLE.fullmatch(name) is None:
                raise TokenError(Refusal.HSM, f"{name!r:.80} is no variable that a module is given")
        if not self.module.is_absolute():
            raise TokenError(Refusal.HSM, f"{self.module}: a module is named by its absolute path")
        if not self.module.exists():
            raise TokenError(Refusal.HSM, f"{self.module}: no such PKCS#11 module; {INSTALL_HINT}")
        settings = self.environment.get(SOFTHSM_CONF)
        if settings is not None and not Path(settings).exists():
            raise TokenError(Refusal.HSM, f"{settings}: no token here; `workbench demo` makes one")

    @property
    def words(self) -> str:
        """Name the token in an error."""
        return " ".join(
            f"{name} {value}" for name, value in (("token", self.label), ("serial", self.serial)) if value
        )


def softhsm(state: Path, *, label: str | None, serial: str | None = None) -> TokenConfig:
    """Return the SoftHSM token that lies in a state root."""
    return TokenConfig(
        module=softhsm_module(),
        environment={SOFTHSM_CONF: str(state / "softhsm2.conf")},
        label=label,
        serial=serial,
    )


def configured(fields: TokenFields, state: Path) -> TokenConfig:
    """Return the token that a process's configuration names."""
    if fields.module is None:
        if fields.environment:
            raise TokenError(Refusal.HSM, "an environment without the module that it is for")
        return softhsm(state, label=fields.label, serial=fields.serial)
    return TokenConfig(
        module=Path(fields.module),
        environment=fields.environment,
        label=fields.label,
        serial=fields.serial,
    )


def softhsm_module() -> Path:
    """Return SoftHSM's module, or say how to install it."""
    for path in SOFTHSM_MODULES:
        if path.exists():
            return path
    raise TokenError(Refusal.HSM, f"no SoftHSM module; {INSTALL_HINT}")
