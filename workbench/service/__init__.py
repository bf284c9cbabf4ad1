"""The memory: sole writer of the ledger, courier between all others, an authority over nothing."""
