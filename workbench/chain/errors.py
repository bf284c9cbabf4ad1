"""What can go wrong between us and a node."""


class ChainError(Exception):
    """No chain fact could be had."""


class NodeError(ChainError):
    """A node could not be reached, was too slow, or said something that cannot be true."""


class RpcError(NodeError):
    """A node answered, with an error."""

    def __init__(self, method: str, code: int, message: str) -> None:
        super().__init__(f"{method}: {code} {message}")
        self.code = code
        self.message = message


class OtherBlockError(ChainError):
    """A quorum of the nodes has another block at that height."""


class SimulationError(ChainError):
    """A simulation could not be made, or not every effect of it could be told."""
