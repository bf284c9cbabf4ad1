"""Ethereum's bytes, and nothing that could fetch them: transactions, calldata, headers, receipts, proofs."""
