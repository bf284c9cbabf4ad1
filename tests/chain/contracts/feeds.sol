// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

// Price feeds as desks read them, and some that misbehave.

/// Rounds with an answer and the time it is of, as published aggregators have them.
contract Aggregator {
    struct Round {
        int256 answer;
        uint64 updatedAt;
    }

    uint8 public immutable decimals;
    uint80 public latest;
    uint80 public answered;
    mapping(uint80 => Round) public rounds;

    constructor(uint8 b) {
        decimals = b;
    }

    function put(int256 a, uint64 b) external {
        latest += 1;
        answered = latest;
        rounds[latest] = Round(a, b);
    }

    /// Opens a round that nobody has answered: the old answer is carried on.
    function open() external {
        rounds[latest + 1] = rounds[latest];
        latest += 1;
    }

    function latestRoundData() external view returns (uint80, int256, uint256, uint256, uint80) {
        Round storage round = rounds[latest];
        return (latest, round.answer, round.updatedAt, round.updatedAt, answered);
    }
}

/// Another layout: the aggregator stands behind an address that its owner may change.
contract Behind {
    Aggregator public aggregator;

    constructor(address a) {
        aggregator = Aggregator(a);
    }

    function decimals() external view returns (uint8) {
        return aggregator.decimals();
    }

    function latestRoundData() external view returns (uint80, int256, uint256, uint256, uint80) {
        return aggregator.latestRoundData();
    }
}

/// Its answer hangs on a value that no state root has.
contract Dice {
    function latestRoundData() external view returns (uint80, int256, uint256, uint256, uint80) {
        return (1, int256(uint256(blockhash(block.number - 1)) >> 1), 1, block.timestamp, 1);
    }
}

/// Nobody could prove all that it looks at.
contract Wide {
    function latestRoundData() external view returns (uint256 sum) {
        for (uint160 each = 1000; each < 1600; each++) sum += address(each << 40).balance;
    }
}

/// It never comes to an end, or answers more than anybody reads.
contract Endless {
    function latestRoundData() external view {
        while (block.number > 0) {}
    }

    function decimals() external pure returns (bytes memory) {
        return new bytes(100000);
    }
}
