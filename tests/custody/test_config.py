"""Which token is opened: exactly what the configuration says, and nothing that it leaves open."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.hsm import no_token_open
from workbench.custody.config import TokenConfig, TokenFields, configured, softhsm_module
from workbench.custody.errors import TokenError
from workbench.custody.token import create_softhsm, opened
from workbench.rules.codes import Refusal, RefusedError

FIELDS: dict[str, Any] = {"module": None, "environment": {}, "label": "a", "serial": None, "pin": "file:pin"}


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """Return a state root with a token."""
    create_softhsm(tmp_path, label="a", pin="user:pass word", so_pin="12345678")
    return tmp_path


def test_opened_as_configured(state: Path) -> None:
    """The PIN's source is read by the process; a vendor's form of PIN passes through."""
    asked: list[str] = []

    def pin(source: str) -> str:
        asked.append(source)
        return "user:pass word"

    no_token_open()
    token = opened(state, FIELDS, pin=pin, clock=lambda: datetime.now(UTC))
    assert token.about["label"] == "a"
    serial = token.about["serial"]
    token.close()
    again = opened(
        state, FIELDS | {"label": None, "serial": serial}, pin=pin, clock=lambda: datetime.now(UTC)
    )
    again.close()
    assert asked == ["file:pin"] * 2


def test_another_module_with_its_environment(state: Path) -> None:
    """What the module's maker wants is set for it, and only that."""
    other = {"SOFTHSM2_CONF": str(state / "softhsm2.conf"), "YUBIHSM_PKCS11_CONF": "/etc/yubihsm.conf"}
    fields = FIELDS | {"module": str(softhsm_module()), "environment": other}
    config = configured(TokenFields.load(fields), state)
    assert (config.module, dict(config.environment)) == (softhsm_module(), other)
    mine = configured(TokenFields.load(FIELDS), state)
    assert dict(mine.environment) == {"SOFTHSM2_CONF": str(state / "softhsm2.conf")}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        pytest.param({"label": None}, "neither label nor serial", id="any token would do"),
        pytest.param({"module": "libsofthsm2.so"}, "absolute path", id="a module that is searched for"),
        pytest.param({"module": "/nowhere.so"}, "no such PKCS#11 module", id="a module that is not there"),
        pytest.param({"environment": {"A": "b"}}, "without the module", id="an environment for nobody"),
        *(
            pytest.param({"module": "/bin/sh", "environment": {name: "x"}}, "no variable", id=name)
            for name in (
                "LD_PRELOAD",
                "PYTHONPATH",
                "PATH",
                "HSM_PIN",
                "SO_PASSWORD",
                "MY_SECRET",
                "lower",
                "A=B",
                "",
            )
        ),
        pytest.param(
            {"module": "/bin/sh", "environment": {"SOFTHSM2_CONF": "/nowhere"}},
            "no token here",
            id="no token",
        ),
    ],
)
def test_what_leaves_it_open(state: Path, changes: dict[str, Any], words: str) -> None:
    """Refused before any library is loaded and before the PIN is read."""

    def pin(_: str) -> str:
        raise AssertionError("the PIN was read")

    with pytest.raises(TokenError, match=words) as caught:
        opened(state, FIELDS | changes, pin=pin, clock=lambda: datetime.now(UTC))
    assert caught.value.code is Refusal.HSM


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(
            {name: value for name, value in FIELDS.items() if name != "serial"}, id="a field missing"
        ),
        pytest.param(FIELDS | {"slot": 0}, id="a slot: slots move"),
        pytest.param(FIELDS | {"label": ""}, id="an empty label"),
        pytest.param(FIELDS | {"label": "a" * 33}, id="a label that no token has"),
        pytest.param(FIELDS | {"serial": 7}, id="a number"),
        pytest.param(FIELDS | {"pin": None}, id="no PIN"),
        pytest.param(None, id="nothing"),
        pytest.param("a", id="a text"),
    ],
)
def test_malformed(tmp_path: Path, value: object) -> None:
    """Each field is there, once, and says what it must."""
    with pytest.raises(RefusedError) as caught:
        opened(tmp_path, value, pin=lambda _: "", clock=lambda: datetime.now(UTC))
    assert caught.value.code is Refusal.MALFORMED
    assert caught.value.path.startswith("/token")


def test_label_and_serial(state: Path) -> None:
    """Both are demanded where both are given."""
    config = TokenConfig(module=softhsm_module(), environment={}, label="a", serial="0123456789abcdef")
    assert config.words == "token a serial 0123456789abcdef"
    said = FIELDS | {"serial": "0123456789abcdef"}
    no_token_open()
    with pytest.raises(TokenError, match="0 of 2 match"):
        opened(state, said, pin=lambda _: "user:pass word", clock=lambda: datetime.now(UTC))
