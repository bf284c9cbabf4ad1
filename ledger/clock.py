"""Times as text: RFC 3339, UTC, six digits of microseconds, a capital Z. One instant, one spelling."""

import re
from datetime import UTC, datetime
from functools import lru_cache

SHAPE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@lru_cache(maxsize=16)  # all entries of a commit have one time
def text(instant: datetime) -> str:
    """Spell an aware instant, such as 2026-11-21T01:02:03.000004Z."""
    if instant.tzinfo is None:
        raise ValueError(f"{instant} has no time zone")
    return instant.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def parse(spelling: object) -> datetime:
    """Read an instant, refusing every other spelling of it."""
    if type(spelling) is not str or not SHAPE.fullmatch(spelling):
        raise ValueError(f"{spelling!r:.80} is not a time such as 2026-11-21T01:02:03.000004Z")
    return datetime.fromisoformat(spelling)


def microseconds(instant: datetime) -> int:
    """Return the whole microseconds since 1970."""
    elapsed = instant - EPOCH
    return (elapsed.days * 86_400 + elapsed.seconds) * 1_000_000 + elapsed.microseconds
