"""The eyes: signs what the chain and simulations show, sends what others signed, confirms what it became."""
