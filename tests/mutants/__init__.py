"""Do the tests of `ledger/` bite? `python -m tests.mutants` says."""
