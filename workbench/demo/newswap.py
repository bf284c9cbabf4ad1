"""NewSwap: a real Uniswap v3 pool whose depth gives the worked example's figures exactly.

USDC (6 decimals, token0) against WETH (18 decimals, token1), fee 0.05 %, middle price 2,500. An inner
position makes $1M cost 0.2000 % ($2,000), an outer one makes $5M cost 3.0000 % ($150,000). Selling five times
$1M back to back costs $150,000 again: the pool does not recover by itself.

The contracts come from npm as they were published; the ledger's anchor contract stands beside them.
Deployment is by anvil's first account and a fixed order, so the addresses are the same on every machine.
The finished chain is kept as a state file in a cache, named after a hash of this recipe and the packages'
versions: loading it takes 0.1 s. A cached file is as trustworthy as its folder.
"""

import fcntl
import gzip
import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from decimal import Decimal, localcontext
from math import ceil, isqrt
from pathlib import Path
from typing import Any, Final

from eth_hash.auto import keccak
from rlp import encode as rlp_encode

from workbench.anchor.core import artifact
from workbench.chain.errors import NodeError
from workbench.chain.node import Node
from workbench.demo import node as chain
from workbench.evm.calldata import APPROVE, EXACT_INPUT_SINGLE, encode, encode_arguments
from workbench.evm.fields import UINT256_MAX, address_bytes, checksummed

# The first account of anvil's published mnemonic.
DEPLOYER: Final = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"
USDC_UNIT: Final = 10**6
ETHER: Final = 10**18
FEE: Final = 500
MID_USDC: Final = 2_500
SQRT_PRICE_X96: Final = isqrt((10**18 << 192) // (MID_USDC * USDC_UNIT))
# (lower tick, upper tick, liquidity)
POSITIONS: Final = (
    (198_040, 198_120, 11310131319813847330),
    (192_080, 204_080, 1989883336921470328),
)

_PACKAGES: Final = (
    "@aave/core-v3",
    "@uniswap/v3-core",
    "@uniswap/v3-periphery",
    "@foundry-rs/anvil-linux-amd64",
)
_ARTIFACTS: Final = {
    "token": "@aave/core-v3/artifacts/contracts/mocks/tokens/MintableERC20.sol/MintableERC20.json",
    "weth9": "@aave/core-v3/artifacts/contracts/dependencies/weth/WETH9.sol/WETH9.json",
    "factory": "@uniswap/v3-core/artifacts/contracts/UniswapV3Factory.sol/UniswapV3Factory.json",
    "router": "@uniswap/v3-periphery/artifacts/contracts/SwapRouter.sol/SwapRouter.json",
    "quoter": "@uniswap/v3-periphery/artifacts/contracts/lens/QuoterV2.sol/QuoterV2.json",
    "positions": (
        "@uniswap/v3-periphery/artifacts/contracts/NonfungiblePositionManager.sol/NonfungiblePositionManager.json"
    ),
}
_NOBODY: Final = "0x0000000000000000000000000000000000000000"
_Q96: Final = 2**96


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """Where NewSwap's contracts are, and the calls a treasury makes to them."""

    chain_id: int
    usdc: str
    weth: str
    weth9: str
    factory: str
    router: str
    quoter: str
    positions: str
    pool: str
    fee: int
    anchor: str

    def approval(self, amount: int) -> bytes:
        """Return the calldata that lets the router spend this much (sent to `usdc`)."""
        return encode(APPROVE, {"spender": self.router, "amount": str(amount)})

    def swap(self, *, recipient: str, amount_in: int, amount_out_minimum: int, deadline: int) -> bytes:
        """Return the calldata that sells USDC for WETH (sent to `router`)."""
        params = {
            "tokenIn": self.usdc,
            "tokenOut": self.weth,
            "fee": str(self.fee),
            "recipient": recipient,
            "deadline": str(deadline),
            "amountIn": str(amount_in),
            "amountOutMinimum": str(amount_out_minimum),
            "sqrtPriceLimitX96": "0",
        }
        return encode(EXACT_INPUT_SINGLE, {"params": params})


def cache_folder() -> Path:
    """Return the default cache: the XDG cache folder of this user."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "custody-workbench"


def prepared(packages: Path, cache: Path) -> tuple[Path, Deployment]:
    """Return the state file and the addresses, made once for each recipe and set of packages."""
    cache.mkdir(parents=True, exist_ok=True, mode=0o700)
    name = f"newswap-{_recipe(packages)}"
    state, addresses = cache / f"{name}.state.json", cache / f"{name}.addresses.json"
    with (cache / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        # The state is written last: where it stands, both are complete.
        if not state.exists():
            with chain.start(packages) as anvil:
                node = Node(anvil.url)
                deployment = deploy(node, packages)
                dump = gzip.decompress(node.read_hex(node.call("anvil_dumpState")))
                node.close()
            _replace(addresses, json.dumps(asdict(deployment)).encode())
            _replace(state, dump)
    return state, Deployment(**json.loads(addresses.read_bytes()))


def deploy(node: Node, packages: Path) -> Deployment:
    """Deploy everything to a fresh chain and open both positions."""
    contracts = {name: json.loads((packages / path).read_bytes()) for name, path in _ARTIFACTS.items()}
    if node.nonce(DEPLOYER) != 0:
        raise NodeError("the chain is not fresh: the addresses would not be the usual ones")

    def create(name: str, /, **arguments: str) -> str:
        return _create(node, contracts[name], arguments)

    # Uniswap sorts tokens by address; USDC must be token0, so it gets the smaller of the first two.
    usdc_first = _created(0) < _created(1)
    usd = {"name": "USD Coin", "symbol": "USDC", "decimals": "6"}
    eth = {"name": "Wrapped Ether", "symbol": "WETH", "decimals": "18"}
    first, second = (create("token", **each) for each in ((usd, eth) if usdc_first else (eth, usd)))
    usdc, weth = (first, second) if usdc_first else (second, first)
    weth9 = create("weth9")
    factory = create("factory")
    router = create("router", _factory=factory, _WETH9=weth9)
    quoter = create("quoter", _factory=factory, _WETH9=weth9)
    positions = create("positions", _factory=factory, _WETH9=weth9, _tokenDescriptor_=_NOBODY)

    abi = contracts["positions"]["abi"]
    opening = {"token0": usdc, "token1": weth, "fee": str(FEE), "sqrtPriceX96": str(SQRT_PRICE_X96)}
    _send(node, positions, _fragment(abi, "createAndInitializePoolIfNecessary"), opening)
    pair = {"tokenA": usdc, "tokenB": weth, "fee": str(FEE)}
    pool = node.eth_call(factory, _call(contracts["factory"]["abi"], "getPool", pair), "latest")
    for token in (usdc, weth):
        _mint(node, token, DEPLOYER, 10**30)
        _send(node, token, APPROVE, {"spender": positions, "amount": str(UINT256_MAX)})
    for lower, upper, liquidity in POSITIONS:
        _open(node, positions, _fragment(abi, "mint"), (usdc, weth), (lower, upper, liquidity))
    return Deployment(
        chain_id=node.chain_id(),
        usdc=usdc,
        weth=weth,
        weth9=weth9,
        factory=factory,
        router=router,
        quoter=quoter,
        positions=positions,
        pool=checksummed(pool[12:]),
        fee=FEE,
        anchor=_create(node, artifact(), {}),
    )


def fund(node_url: str, deployment: Deployment, address: str, *, usdc: int, ether: int) -> None:
    """Give an address USDC and ether (base units), by ordinary transactions."""
    node = Node(node_url)
    try:
        if usdc:
            _mint(node, deployment.usdc, address, usdc)
        if ether:
            chain.send(node, sender=DEPLOYER, to=address, value=ether)
    finally:
        node.close()


_MINT: Final = {
    "type": "function",
    "name": "mint",
    "inputs": [{"name": "account", "type": "address"}, {"name": "value", "type": "uint256"}],
}


def _mint(node: Node, token: str, to: str, amount: int) -> None:
    _send(node, token, _MINT, {"account": to, "value": str(amount)})


def _open(
    node: Node,
    positions: str,
    fragment: Mapping[str, Any],
    tokens: tuple[str, str],
    position: tuple[int, int, int],
) -> None:
    lower, upper, liquidity = position
    amount0, amount1 = _amounts(lower, upper, liquidity)
    deadline = node.head().timestamp + 3600
    params = {"token0": tokens[0], "token1": tokens[1], "fee": FEE, "tickLower": lower, "tickUpper": upper}
    params |= {"amount0Desired": amount0, "amount1Desired": amount1, "amount0Min": 0, "amount1Min": 0}
    params |= {"recipient": DEPLOYER, "deadline": deadline}
    _send(node, positions, fragment, {"params": {name: str(value) for name, value in params.items()}})


def _amounts(lower: int, upper: int, liquidity: int) -> tuple[int, int]:
    """Return amounts that give exactly this liquidity; WETH's finer grain decides, USDC is rounded up."""
    with localcontext(prec=80):
        low, high = (Decimal("1.0001") ** (Decimal(tick) / 2) * _Q96 for tick in (lower, upper))
        amount0 = liquidity * _Q96 * (high - SQRT_PRICE_X96) / (high * SQRT_PRICE_X96)
        amount1 = liquidity * (SQRT_PRICE_X96 - low) / _Q96
        return ceil(amount0) + 1, ceil(amount1)


def _create(node: Node, contract: Mapping[str, Any], arguments: Mapping[str, str]) -> str:
    declared = [each for each in contract["abi"] if each["type"] == "constructor"]
    constructor: Mapping[str, Any] = declared[0] if declared else {"inputs": []}
    code = bytes.fromhex(contract["bytecode"].removeprefix("0x")) + encode_arguments(constructor, arguments)
    receipt = chain.send(node, sender=DEPLOYER, to=None, data=code)
    return checksummed(node.read_hex(receipt["contractAddress"], size=20))


def _created(nonce: int) -> bytes:
    return keccak(rlp_encode([address_bytes(DEPLOYER), nonce]))[12:]


def _fragment(abi: list[dict[str, Any]], name: str) -> dict[str, Any]:
    return next(each for each in abi if each["type"] == "function" and each["name"] == name)


def _call(abi: list[dict[str, Any]], name: str, arguments: Mapping[str, str]) -> bytes:
    fragment = dict(_fragment(abi, name))
    # A public mapping's getter has parameters without names; here they get ours, in order.
    fragment["inputs"] = [
        {"name": ours, "type": each["type"]} for ours, each in zip(arguments, fragment["inputs"], strict=True)
    ]
    return encode(fragment, arguments)


def _send(node: Node, to: str, fragment: Mapping[str, Any], arguments: Mapping[str, Any]) -> None:
    chain.send(node, sender=DEPLOYER, to=to, data=encode(fragment, arguments))


def _recipe(packages: Path) -> str:
    digest = hashlib.sha256(Path(__file__).read_bytes())
    digest.update(Path(chain.__file__).read_bytes())
    digest.update(artifact()["bytecode"].encode())
    for package in _PACKAGES:
        manifest = packages / package / "package.json"
        if not manifest.exists():
            raise NodeError(f"no {package} in {packages}: run `make`, or `npm ci` in binder/")
        digest.update(f"{package}@{json.loads(manifest.read_bytes())['version']}\n".encode())
    return digest.hexdigest()[:16]


def _replace(path: Path, content: bytes) -> None:
    partial = path.with_suffix(f".{os.getpid()}.partial")
    with partial.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
