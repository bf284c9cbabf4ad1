"""The worked example's pool, in figures and on a chain."""

from tests.chain.conftest import fresh_world, newswap_cache, world

__all__ = ["fresh_world", "newswap_cache", "world"]
