// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

// Tokens that call themselves something, each in its own way.

/// Gives one token to whoever claims; what it calls itself is its children's.
abstract contract Claimed {
    mapping(address => uint256) public balanceOf;

    function claim() external {
        balanceOf[msg.sender] += 1;
    }

    function transfer(address a, uint256 b) external returns (bool) {
        balanceOf[msg.sender] -= b;
        balanceOf[a] += b;
        return true;
    }
}

/// A name from storage, as most have it; anybody may change it.
contract Named is Claimed {
    string public symbol;
    uint8 public decimals;

    constructor(string memory a, uint8 b) {
        symbol = a;
        decimals = b;
    }

    function become(string memory a, uint8 b) external {
        symbol = a;
        decimals = b;
    }
}

contract Early is Claimed {
    bytes32 public constant symbol = "MKR";
    uint256 public constant decimals = 18;
}

contract Nameless is Claimed {}

contract Reverting is Claimed {
    function symbol() external pure returns (string memory) {
        revert("no name");
    }

    function decimals() external pure returns (uint8) {
        revert("none");
    }
}

contract Endless is Claimed {
    function symbol() external view returns (string memory) {
        while (block.number > 0) {}
        return "USDC";
    }

    function decimals() external view returns (uint8) {
        while (block.number > 0) {}
        return 6;
    }
}

contract Megabyte is Claimed {
    function symbol() external pure returns (string memory) {
        assembly { return(0, 1048576) }
    }

    function decimals() external pure returns (uint8) {
        assembly { return(0, 1048576) }
    }
}

/// As long as its gas allows.
contract Long is Claimed {
    function symbol() external pure returns (bytes memory) {
        return new bytes(60000);
    }

    function decimals() external pure returns (uint256) {
        return 256;
    }
}

/// Calls itself by the hash of a block, which no state root has.
contract Dicing is Claimed {
    function symbol() external view returns (string memory) {
        return uint256(blockhash(block.number - 1)) > 0 ? "USDC" : "BAIT";
    }

    function decimals() external view returns (uint8) {
        return uint256(blockhash(block.number - 1)) > 0 ? 6 : 18;
    }
}

/// Calls itself like a friend to everybody but its holders, and to nobody while it is looked at.
contract Changing is Claimed {
    string private said = "BAIT";

    function symbol() external returns (string memory) {
        said = "USDC";
        return said;
    }
}

/// Code of its own can be exchanged: a proxy, as listed tokens are.
contract Exchangeable {
    constructor(address code) {
        become(code);
    }

    function become(address code) public {
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

contract Six is Claimed {
    string public constant symbol = "USDC";
    uint8 public constant decimals = 6;
}

contract Eighteen is Claimed {
    string public constant symbol = "USDC";
    uint8 public constant decimals = 18;
}
