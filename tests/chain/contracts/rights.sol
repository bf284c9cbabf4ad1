// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

// Ways in which others may take what is ours.

/// A token with or without its event.
contract Grants {
    bool immutable silent;
    mapping(address => uint256) public balanceOf;
    mapping(address => mapping(address => uint256)) public allowance;

    event Approval(address indexed owner, address indexed spender, uint256 value);

    constructor(bool b) {
        silent = b;
    }

    function mint(address a, uint256 b) external {
        balanceOf[a] += b;
    }

    function approve(address a, uint256 b) external {
        allowance[msg.sender][a] = b;
        if (!silent) emit Approval(msg.sender, a, b);
    }
}

/// Whoever is an operator may take everything.
contract Collection {
    mapping(address => uint256) public balanceOf;
    mapping(address => mapping(address => bool)) public isApprovedForAll;

    event ApprovalForAll(address indexed owner, address indexed operator, bool approved);

    function mint(address a, uint256 b) external {
        balanceOf[a] += b;
    }

    function setApprovalForAll(address a, bool b) external {
        isApprovedForAll[msg.sender][a] = b;
        emit ApprovalForAll(msg.sender, a, b);
    }
}

/// Allowances kept for all tokens in one place, each until a second.
contract Second {
    struct Allowed {
        uint160 amount;
        uint48 expiration;
        uint48 nonce;
    }

    mapping(address => mapping(address => mapping(address => Allowed))) public allowance;

    event Approval(
        address indexed owner, address indexed token, address indexed spender, uint160 amount, uint48 expiration
    );

    function approve(address a, address b, uint160 c, uint48 d) external {
        allowance[msg.sender][a][b] = Allowed(c, d, 0);
        emit Approval(msg.sender, a, b, c, d);
    }
}
