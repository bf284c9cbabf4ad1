// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// Fixes a ledger's state in a block. It keeps nothing and owns nothing: who called stands in the event,
/// and a verifier counts only the events of the sender that its trust root names.
contract Anchor {
    event Anchored(address indexed sender, bytes32 indexed ledger, uint64 size, bytes32 root, bytes32 chain);

    function anchor(bytes32 ledger, uint64 size, bytes32 root, bytes32 chain) external {
        emit Anchored(msg.sender, ledger, size, root, chain);
    }
}
