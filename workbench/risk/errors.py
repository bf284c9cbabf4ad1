"""What can be wrong with a pool or with a plan for it."""


class RiskError(ValueError):
    """A figure that cannot be told."""


class PoolError(RiskError):
    """A pool or a swap that the published contracts would not have or make."""


class UnknownTicksError(PoolError):
    """A swap would leave the ticks that are known: what it costs there cannot be told."""


class SplitError(RiskError):
    """A plan in tranches that cannot be judged."""


class PriceError(RiskError):
    """Sources that give no price together, or a quote that can be none."""
