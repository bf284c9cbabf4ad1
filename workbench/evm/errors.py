"""What can be wrong with bytes that claim to be Ethereum's."""


class EvmError(ValueError):
    """Bytes or values that are not what they claim to be."""


class TransactionError(EvmError):
    """A transaction that is not its own canonical encoding, or a signature that does not belong to it."""


class CalldataError(EvmError):
    """Calldata that an ABI does not describe byte for byte."""


class SafeError(EvmError):
    """A Safe's transaction, signatures or storage that are not as the contract reads them."""


class HeaderError(EvmError):
    """A block header that is incomplete, unknown in shape, or not the one its hash names."""


class ReceiptError(EvmError):
    """A receipt that is not its own canonical encoding."""


class ProofError(EvmError):
    """A Merkle proof that does not lead from the root to the value."""
