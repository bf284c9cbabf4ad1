"""YAML without surprises: what a person reads in the file is what the figures are computed from.

Only the plain part is read: no anchors, tags or second keys, and numbers as JSON writes them. `off` is a
word, `12:30` is no number, and `0.005` is exactly that (a `Decimal`). JSON is read too, being a part of YAML.
What else a file may say is refused.
"""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation
from typing import Any, Final

import yaml

from workbench.risk.errors import RiskError

FILE_MAX: Final = 1024 * 1024  # bytes; the desk's own is some kilobytes
DEPTH_MAX: Final = 16
DIGITS_MAX: Final = 40
DETAIL_MAX: Final = 500


class ScenarioError(RiskError):
    """A file of scenarios that is not one; `path` says where."""

    def __init__(self, detail: str, *, path: str = "") -> None:
        super().__init__(f"{path or '/'}: {detail}")
        self.detail, self.path = detail, path


def parse(raw: bytes) -> object:
    """Return what the bytes say: lists, dictionaries, text, `int`, `Decimal`, `bool` and None."""
    if len(raw) > FILE_MAX:
        raise ScenarioError(f"{len(raw)} bytes, at most {FILE_MAX}")
    try:
        return yaml.load(raw.decode(), Loader=_Plain)  # noqa: S506 - a safe loader's plainer child
    except ScenarioError:
        raise
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise ScenarioError(" ".join(str(error).split())[:DETAIL_MAX]) from error


class _Plain(yaml.SafeLoader):  # type: ignore[misc]
    yaml_implicit_resolvers: dict[str, list[tuple[str, Any]]] = {}  # noqa: RUF012 - the library's way
    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:  # noqa: ANN401 - the library's nodes
        event = self.peek_event()
        if isinstance(event, yaml.AliasEvent):
            raise ScenarioError("an alias: write the figure out, with its source")
        if event.anchor is not None or event.tag is not None:
            raise ScenarioError("an anchor or a tag")
        self.depth += 1
        if self.depth > DEPTH_MAX:
            raise ScenarioError(f"deeper than {DEPTH_MAX}")
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:  # noqa: ANN401, FBT001, FBT002 - as above
        names = [self.construct_object(key, deep=True) for key, _ in node.value]
        if not all(isinstance(name, str) for name in names) or len(set(names)) != len(names):
            raise ScenarioError("a key twice, or one that is not a word")
        return super().construct_mapping(node, deep)


def _decimal(loader: Any, node: Any) -> Decimal:  # noqa: ANN401 - as above
    written = str(loader.construct_scalar(node))
    try:
        value = Decimal(written)
    except InvalidOperation as error:
        raise ScenarioError(f"no number: {written:.40}") from error
    if len(written) > DIGITS_MAX or abs(value.adjusted()) > DIGITS_MAX:
        raise ScenarioError(f"more than {DIGITS_MAX} digits")
    return value


for _tag, _form, _first, _made in (
    ("!null", r"null", "n", lambda *_: None),
    ("!bool", r"true|false", "tf", lambda _, node: node.value == "true"),
    ("!int", r"-?(?:0|[1-9]\d*)", "-0123456789", lambda loader, node: int(_decimal(loader, node))),
    ("!decimal", r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][-+]?\d+)?", "-0123456789", _decimal),
):
    _Plain.add_implicit_resolver(_tag, re.compile(rf"(?:{_form})\Z", re.ASCII), list(_first))
    _Plain.add_constructor(_tag, _made)
