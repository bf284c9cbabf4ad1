"""A hash-chained, witnessed audit ledger: bytes, hashes and signatures, and nothing of what they mean."""
