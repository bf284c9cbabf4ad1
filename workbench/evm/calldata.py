"""Calldata read by the ABI fragments that a whitelist entry carries, strictly.

(1) The selector must be that of exactly one fragment given; an unknown one is refused, never "undecodable but
    allowed".
(2) The arguments are encoded again and must give the same bytes: trailing bytes, dirty padding, overlapping
    or reordered offsets would let two decoders see two different calls.
(3) Every parameter has a name, unique in its place: a rule that bounds `recipient` must find it.
(4) Arguments come out in the form our documents use: addresses EIP-55, integers as decimal strings, bytes as
    hex.

Which functions and arguments are allowed is decided in `workbench.rules`; that the contract really has this
ABI is the reviewers' finding in the whitelist entry. Pure; the bytes and the fragments are both taken as
hostile.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from eth_abi.abi import decode as abi_decode
from eth_abi.abi import encode as abi_encode
from eth_abi.exceptions import DecodingError, EncodingError
from eth_hash.auto import keccak

from workbench.evm.errors import CalldataError
from workbench.evm.fields import address_bytes, checksummed, from_decimal, from_hex

DATA_BYTES_MAX: Final = 16 * 1024
FRAGMENTS_MAX: Final = 256
DEPTH_MAX: Final = 4
SELECTOR_BYTES: Final = 4

_NAME = re.compile(r"[A-Za-z_$][A-Za-z0-9_$]{0,63}")
_TYPE = re.compile(
    r"(?P<base>address|bool|string|bytes(?:[1-9]|[12][0-9]|3[0-2])?|u?int(?:[1-9][0-9]{0,2})|tuple)"
    r"(?P<arrays>(?:\[[0-9]{0,3}\]){0,2})"
)

# The JSON edge: a fragment is as it came from the compiler, and is checked where it is read.
Fragment = Mapping[str, Any]
Arguments = Mapping[str, Any]

APPROVE: Final[Fragment] = {
    "type": "function",
    "name": "approve",
    "inputs": [{"name": "spender", "type": "address"}, {"name": "amount", "type": "uint256"}],
}
EXACT_INPUT_SINGLE: Final[Fragment] = {
    "type": "function",
    "name": "exactInputSingle",
    "inputs": [
        {
            "name": "params",
            "type": "tuple",
            "components": [
                {"name": "tokenIn", "type": "address"},
                {"name": "tokenOut", "type": "address"},
                {"name": "fee", "type": "uint24"},
                {"name": "recipient", "type": "address"},
                {"name": "deadline", "type": "uint256"},
                {"name": "amountIn", "type": "uint256"},
                {"name": "amountOutMinimum", "type": "uint256"},
                {"name": "sqrtPriceLimitX96", "type": "uint160"},
            ],
        }
    ],
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call, in words a rule and a person can read."""

    function: str
    signature: str
    selector: str
    arguments: dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Type:
    """One parameter: its ABI type, and how its value looks in our documents."""

    base: str
    arrays: tuple[str, ...]
    components: tuple[tuple[str, "_Type"], ...]

    @property
    def canonical(self) -> str:
        """The type as it stands in a signature."""
        base = self.base
        if base == "tuple":
            base = "(" + ",".join(part.canonical for _, part in self.components) + ")"
        return base + "".join(f"[{size}]" for size in self.arrays)

    def item(self) -> "_Type":
        """Return the type of an array's items."""
        return _Type(self.base, self.arrays[:-1], self.components)


def signature(fragment: Fragment) -> str:
    """Return a fragment's signature, such as `approve(address,uint256)`."""
    name, inputs = _function(fragment)
    return f"{name}({','.join(kind.canonical for _, kind in inputs)})"


def selector(fragment: Fragment) -> str:
    """Return the first four bytes of the signature's hash, as hex."""
    return keccak(signature(fragment).encode())[:SELECTOR_BYTES].hex()


def decode(data: bytes, abi: Sequence[Fragment]) -> Call:
    """Return the call that `data` makes under `abi`, or raise."""
    if not SELECTOR_BYTES <= len(data) <= DATA_BYTES_MAX:
        raise CalldataError(f"calldata of {len(data)} bytes, expected {SELECTOR_BYTES} to {DATA_BYTES_MAX}")
    fragment = _matching(data[:SELECTOR_BYTES].hex(), abi)  # (1)
    return Call(
        function=str(fragment["name"]),
        signature=signature(fragment),
        selector=data[:SELECTOR_BYTES].hex(),
        arguments=decode_arguments(fragment, data[SELECTOR_BYTES:]),
    )


def decode_arguments(fragment: Fragment, body: bytes) -> dict[str, Any]:
    """Return the arguments alone, as they stand behind a selector, or raise."""
    name, inputs = _function(fragment)
    types = [kind.canonical for _, kind in inputs]
    try:
        values = abi_decode(types, body)
        again = abi_encode(types, values)
    except (DecodingError, EncodingError, ValueError, OverflowError) as error:
        # UnicodeDecodeError of a dirty string is a ValueError too
        raise CalldataError(f"{name}: {type(error).__name__}: {error}") from error
    if again != body:  # (2)
        raise CalldataError(f"{name}: the calldata is not its own encoding")
    return {key: _out(kind, value) for (key, kind), value in zip(inputs, values, strict=True)}  # (4)


def holding_bytes(fragment: Fragment) -> frozenset[str]:
    """Return the parameters, tuples unfolded ("params.path"), in which bytes of any length can stand."""
    return frozenset(_holding(_function(fragment)[1], ""))


def encode(fragment: Fragment, arguments: Arguments) -> bytes:
    """Return the calldata of a call, from arguments in the form `decode` gives."""
    return bytes.fromhex(selector(fragment)) + encode_arguments(fragment, arguments)


def encode_arguments(fragment: Fragment, arguments: Arguments) -> bytes:
    """Return the arguments alone, as a constructor takes them behind its code."""
    inputs = _parameters(fragment.get("inputs"), depth=0)
    try:
        return abi_encode([kind.canonical for _, kind in inputs], _in_struct(inputs, arguments))
    except (EncodingError, ValueError, OverflowError, TypeError) as error:
        raise CalldataError(f"{type(error).__name__}: {error}") from error


def _matching(wanted: str, abi: Sequence[Fragment]) -> Fragment:
    if len(abi) > FRAGMENTS_MAX:
        raise CalldataError(f"{len(abi)} fragments, at most {FRAGMENTS_MAX}")
    found = [
        fragment for fragment in abi if fragment.get("type") == "function" and selector(fragment) == wanted
    ]
    if len(found) != 1:
        raise CalldataError(f"selector {wanted} names {len(found)} functions of the ABI, expected one")
    return found[0]


def _function(fragment: Fragment) -> tuple[str, list[tuple[str, _Type]]]:
    name = fragment.get("name")
    if fragment.get("type") != "function" or not isinstance(name, str) or not _NAME.fullmatch(name):
        raise CalldataError(f"not a function's fragment: {name!r:.60}")
    return name, _parameters(fragment.get("inputs"), depth=0)


def _parameters(inputs: object, *, depth: int) -> list[tuple[str, _Type]]:
    if not isinstance(inputs, Sequence) or isinstance(inputs, str) or depth > DEPTH_MAX:
        raise CalldataError("a fragment's inputs are a list, nested at most four deep")
    parameters = [_parameter(each, depth=depth) for each in inputs]
    if len({name for name, _ in parameters}) != len(parameters):  # (3)
        raise CalldataError("two parameters share a name")
    return parameters


def _parameter(declared: object, *, depth: int) -> tuple[str, _Type]:
    if not isinstance(declared, Mapping):
        raise CalldataError("a parameter is an object")
    name, kind = declared.get("name"), declared.get("type")
    if not isinstance(name, str) or not _NAME.fullmatch(name):  # (3)
        raise CalldataError(f"a parameter without a usable name: {name!r:.60}")
    match = _TYPE.fullmatch(kind) if isinstance(kind, str) else None
    if match is None:
        raise CalldataError(f"{name}: type {kind!r:.60} is not supported")
    base = match["base"]
    if base.startswith(("int", "uint")) and int(base.removeprefix("u")[3:]) not in range(8, 257, 8):
        raise CalldataError(f"{name}: there is no type {base}")
    arrays = tuple(re.findall(r"\[([0-9]*)\]", match["arrays"]))
    components = _parameters(declared.get("components"), depth=depth + 1) if base == "tuple" else []
    if base == "tuple" and not components:
        raise CalldataError(f"{name}: a tuple without components")
    return name, _Type(base, arrays, tuple(components))


def _holding(parameters: Iterable[tuple[str, _Type]], prefix: str) -> Iterator[str]:
    for name, kind in parameters:
        if kind.base == "tuple" and not kind.arrays:
            yield from _holding(kind.components, f"{prefix}{name}.")
        elif kind.base == "bytes" or any(True for _ in _holding(kind.components, "")):
            yield prefix + name


def _out(kind: _Type, value: Any) -> Any:  # noqa: ANN401  # the JSON edge: a value of whatever ABI type
    if kind.arrays:
        return [_out(kind.item(), item) for item in value]
    if kind.base == "tuple":
        return {name: _out(part, item) for (name, part), item in zip(kind.components, value, strict=True)}
    if kind.base == "address":
        return checksummed(bytes.fromhex(value[2:]))
    if kind.base.startswith("bytes"):
        return value.hex()
    return value if kind.base in ("bool", "string") else str(value)


def _in(kind: _Type, value: Any) -> Any:  # noqa: ANN401  # the JSON edge
    if kind.arrays:
        return [_in(kind.item(), item) for item in value]
    if kind.base == "tuple":
        return _in_struct(kind.components, value)
    if kind.base == "address":
        address_bytes(value)
        return value
    if kind.base.startswith("bytes"):
        return from_hex(value)
    return value if kind.base in ("bool", "string") else from_decimal(value)


def _in_struct(parameters: Sequence[tuple[str, _Type]], values: Arguments) -> list[Any]:
    if set(values) != {name for name, _ in parameters}:
        raise CalldataError(
            f"got arguments {sorted(values)}, expected {sorted(name for name, _ in parameters)}"
        )
    try:
        return [_in(kind, values[name]) for name, kind in parameters]
    except (ValueError, TypeError) as error:
        raise CalldataError(str(error)) from error
