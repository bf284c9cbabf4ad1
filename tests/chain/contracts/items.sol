// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

// Collections of single tokens: honest ones, and some that say something else than they do.

/// ERC-721 as most collections have it, and anybody may mint.
contract Unique {
    mapping(uint256 => address) internal owners;
    mapping(address => uint256) public balanceOf;
    mapping(uint256 => address) public getApproved;
    mapping(address => mapping(address => bool)) public isApprovedForAll;

    event Transfer(address indexed from, address indexed to, uint256 indexed id);
    event Approval(address indexed owner, address indexed spender, uint256 indexed id);
    event ApprovalForAll(address indexed owner, address indexed operator, bool approved);

    function ownerOf(uint256 id) external view returns (address owner) {
        owner = owners[id];
        require(owner != address(0), "no such token");
    }

    function mint(address a, uint256 b) public {
        require(owners[b] == address(0), "taken");
        owners[b] = a;
        balanceOf[a] += 1;
        emit Transfer(address(0), a, b);
    }

    function burn(uint256 a) external {
        address owner = owners[a];
        delete owners[a];
        delete getApproved[a];
        balanceOf[owner] -= 1;
        emit Transfer(owner, address(0), a);
    }

    function approve(address a, uint256 b) public virtual {
        getApproved[b] = a;
        emit Approval(owners[b], a, b);
    }

    function setApprovalForAll(address a, bool b) public virtual {
        isApprovedForAll[msg.sender][a] = b;
        emit ApprovalForAll(msg.sender, a, b);
    }

    function transferFrom(address a, address b, uint256 c) public virtual {
        take(a, b, c);
        emit Transfer(a, b, c);
    }

    function take(address from, address to, uint256 id) internal {
        require(owners[id] == from, "another's");
        bool may = msg.sender == from || isApprovedForAll[from][msg.sender] || getApproved[id] == msg.sender;
        require(may, "not allowed");
        delete getApproved[id];
        owners[id] = to;
        balanceOf[from] -= 1;
        balanceOf[to] += 1;
    }
}

/// Moves a token, and says nothing.
contract SilentUnique is Unique {
    function transferFrom(address a, address b, uint256 c) public override {
        take(a, b, c);
    }

    function approve(address a, uint256 b) public override {
        getApproved[b] = a;
    }

    function setApprovalForAll(address a, bool b) public override {
        isApprovedForAll[msg.sender][a] = b;
    }
}

/// Takes a token that no argument names.
contract Snatches is Unique {
    uint256 private immutable chosen;

    constructor(uint256 a) {
        chosen = a;
    }

    function claim() external {
        owners[chosen] = address(uint160(0x6666666666666666666666666666666666666666));
        balanceOf[msg.sender] -= 1;
    }
}

/// Says that a token went to a friend, and gives it to another; says it approves one, and approves another.
contract LyingUnique is Unique {
    address private constant THIEF = 0x6666666666666666666666666666666666666666;

    function transferFrom(address a, address b, uint256 c) public override {
        take(a, THIEF, c);
        emit Transfer(a, b, c);
    }

    function approve(address a, uint256 b) public override {
        getApproved[b] = THIEF;
        emit Approval(owners[b], a, b);
    }

    function setApprovalForAll(address a, bool b) public override {
        isApprovedForAll[msg.sender][a] = !b;
        emit ApprovalForAll(msg.sender, a, b);
    }

    function pretend(address a, uint256 b) external {
        emit Transfer(a, THIEF, b);
    }

    /// Counts what it owns as nobody else would.
    function miscount(address a, uint256 b) external {
        owners[b] = a;
        emit Transfer(address(0), a, b);
    }
}

/// Gives a token whose approval stays with somebody who can take it back.
contract Boomerang is Unique {
    function claim(uint256 a) external {
        mint(msg.sender, a);
        getApproved[a] = address(uint160(0x6666666666666666666666666666666666666666));
    }
}

/// ERC-1155, and anybody may mint.
contract Amounts {
    mapping(uint256 => mapping(address => uint256)) internal held;
    mapping(address => mapping(address => bool)) public isApprovedForAll;

    event TransferSingle(
        address indexed operator, address indexed from, address indexed to, uint256 id, uint256 value
    );
    event TransferBatch(
        address indexed operator, address indexed from, address indexed to, uint256[] ids, uint256[] values
    );
    event ApprovalForAll(address indexed owner, address indexed operator, bool approved);

    function balanceOf(address owner, uint256 id) external view returns (uint256) {
        return held[id][owner];
    }

    function mint(address a, uint256 b, uint256 c) external {
        held[b][a] += c;
        emit TransferSingle(msg.sender, address(0), a, b, c);
    }

    function setApprovalForAll(address a, bool b) external {
        isApprovedForAll[msg.sender][a] = b;
        emit ApprovalForAll(msg.sender, a, b);
    }

    function safeTransferFrom(address a, address b, uint256 c, uint256 d, bytes calldata) public virtual {
        held[c][a] -= d;
        held[c][b] += d;
        emit TransferSingle(msg.sender, a, b, c, d);
    }

    function safeBatchTransferFrom(
        address a, address b, uint256[] calldata c, uint256[] calldata d, bytes calldata
    ) external {
        for (uint256 at = 0; at < c.length; at++) {
            held[c[at]][a] -= d[at];
            held[c[at]][b] += d[at];
        }
        emit TransferBatch(msg.sender, a, b, c, d);
    }
}

/// Lets somebody take everything of whoever claims, and says so.
contract Generous is Amounts {
    function claim() external {
        address thief = address(uint160(0x6666666666666666666666666666666666666666));
        isApprovedForAll[msg.sender][thief] = true;
        emit ApprovalForAll(msg.sender, thief, true);
    }
}

/// Takes more than it tells of.
contract LyingAmounts is Amounts {
    function safeTransferFrom(address a, address b, uint256 c, uint256 d, bytes calldata) public override {
        uint256 all = held[c][a];
        held[c][a] = 0;
        held[c][b] += all;
        emit TransferSingle(msg.sender, a, b, c, d);
    }
}

/// Says that a friend has it, and gives it to another.
contract MisdirectedAmounts is Amounts {
    function safeTransferFrom(address a, address b, uint256 c, uint256 d, bytes calldata) public override {
        held[c][a] -= d;
        held[c][address(uint160(0x6666666666666666666666666666666666666666))] += d;
        emit TransferSingle(msg.sender, a, b, c, d);
    }
}

/// Takes what no argument and no event names.
contract SilentAmounts is Amounts {
    uint256 private immutable chosen;

    constructor(uint256 a) {
        chosen = a;
    }

    function claim() external {
        held[chosen][msg.sender] = 0;
    }
}

/// Many events of single tokens, or one with a long list.
contract Flood is Amounts {
    function claim(uint256 a) external {
        for (uint256 at = 0; at < a; at++) {
            held[at][msg.sender] += 1;
            emit TransferSingle(msg.sender, address(0), msg.sender, at, 1);
        }
    }
}

/// A market that takes both kinds by an operator's right, and gives both.
contract Market {
    function swap(address a, address b, uint256 c, uint256 d) external {
        Unique(a).transferFrom(msg.sender, address(this), c);
        Unique(b).transferFrom(address(this), msg.sender, d);
    }
}

/// Made of parts: what answers is elsewhere than what acts.
contract Parts {
    address private immutable acts;
    address private immutable answers;

    constructor(address a, address b) {
        acts = a;
        answers = b;
    }

    fallback() external {
        address part = msg.sig == 0x4e71d92d ? acts : answers;
        assembly {
            calldatacopy(0, 0, calldatasize())
            let done := delegatecall(gas(), part, 0, calldatasize(), 0, 0)
            returndatacopy(0, 0, returndatasize())
            switch done case 0 { revert(0, returndatasize()) } default { return(0, returndatasize()) }
        }
    }
}

/// The part that acts: it takes an ERC-1155's token from its caller, and knows no question.
contract ActingPart {
    mapping(uint256 => mapping(address => uint256)) internal held;
    uint256 private immutable chosen;

    constructor(uint256 a) {
        chosen = a;
    }

    function claim() external {
        held[chosen][msg.sender] = 0;
    }
}
