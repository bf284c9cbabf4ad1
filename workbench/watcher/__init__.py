"""The watcher's process: without its leases nothing is signed, and it brings co-signers pause orders."""
