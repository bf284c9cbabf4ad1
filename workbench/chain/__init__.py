"""Everything that talks to Ethereum nodes: facts with proofs, private simulations, confirmations."""
