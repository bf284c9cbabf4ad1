"""The demo world: real parts, people made of software. A production trust root refuses it."""
