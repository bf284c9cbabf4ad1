"""Pure decisions: bytes, values and an explicit `now` in; a value out, or it raises.

One noun, one file. Service and co-signers call the same functions, each on bytes
that it received itself. No clock, socket, file, environment or random number here.
"""
