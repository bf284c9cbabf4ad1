"""A pool's mean price from observations that a node proves under an agreed header.

Which slots to ask for is `workbench.risk.twap`'s business. A node that lies about one gives a `NodeError`;
that a pool keeps too few observations is nobody's lie: it is proven, and a `ChainError`.
"""

from typing import Final

from workbench.chain.errors import ChainError
from workbench.chain.node import Node
from workbench.chain.state import proven_slots
from workbench.evm.header import Header
from workbench.risk.errors import RiskError
from workbench.risk.layout import Slot
from workbench.risk.twap import Mean, mean, wanted
from workbench.risk.venue import Venue

# 65,535 observations are found among in four questions.
QUESTIONS_MAX: Final = 12


def proven_mean(node: Node, header: Header, venue: Venue, *, window_s: int, quiet_s_max: int) -> Mean:
    """Return the pool's mean tick of the seconds before the header's block."""
    values: dict[Slot, int] = {}
    now = header.timestamp
    try:
        for _ in range(QUESTIONS_MAX):
            slots = wanted(venue, values, now=now, window_s=window_s)
            if not slots:
                return mean(venue, values, now=now, window_s=window_s, quiet_s_max=quiet_s_max)
            _, proven = proven_slots(node, header, venue.address, [slot.key for slot in slots])
            values |= {Slot(venue.address, key): value for key, (value, _) in proven.items()}
    except RiskError as error:
        raise ChainError(str(error)) from error
    raise ChainError(f"the observations of {venue.address} were not found in {QUESTIONS_MAX} questions")
