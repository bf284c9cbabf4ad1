"""Where co-signers stand, and that too many shares of a key are not in one hand.

A shared key is worth what its threshold is worth: with as many shares in one hand as sign together, it is a
whole key in that hand. The policy set says of each co-signer at which site and on which host it runs, whose
make its token is, who administers it and which team that is (`cosigners.json`). A set is believed when
(1) each co-signer of a shared key stands there, once;
(2) no site, administrator or team has as many of a key's co-signers as sign together;
(3) under a production trust root no host and no vendor has either. On one machine, with one make of token,
    that cannot hold, which is what a demo is.

What stands there is what officers have signed, not what is measured: a co-signer knows of its host what
`isolation` tells. Left out: a whole key, which is in one hand by its nature; and who can log in to two sites.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated

from pydantic import Field

from workbench.rules.codes import Refusal, RefusedError
from workbench.rules.documents import Document, Name

FILE = "cosigners.json"
EVERYWHERE: tuple[str, ...] = ("site", "administrator", "team")
PRODUCTION: tuple[str, ...] = ("host", "vendor")
PLACES_MAX = 64


class Place(Document):
    """Where one co-signer stands, and in whose hands."""

    name: Name
    site: Name
    host: Name
    vendor: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._-]{0,63}$")]
    administrator: Name
    team: Name


def check(
    key: str,
    cosigners: Sequence[str],
    threshold: int,
    *,
    places: Mapping[str, Place],
    hands: Iterable[str] = EVERYWHERE,
) -> None:
    """Refuse a key of which one hand has as many co-signers as sign together (1) (2).

    Args:
        key: its name, for who reads the refusal.
        cosigners: who shares it, or is to.
        threshold: how many of them sign together.
        places: where each of the desk's co-signers stands, by name.
        hands: which fields of a place are looked at.

    """
    missing = sorted(set(cosigners) - set(places))
    if missing:
        raise _concentrated(f"nobody says where {', '.join(missing)} of {key} stands")
    for hand in hands:
        who, count = most(cosigners, hand, places=places)
        if count >= threshold:
            raise _concentrated(f"{hand} {who} has {count} of {key}, and {threshold} sign together")


def most(cosigners: Sequence[str], hand: str, *, places: Mapping[str, Place]) -> tuple[str, int]:
    """Return which site, or whatever the hand is, has most of a key's co-signers, and how many."""
    return Counter(str(getattr(places[name], hand)) for name in cosigners).most_common(1)[0]


def _concentrated(detail: str) -> RefusedError:
    return RefusedError(Refusal.CONCENTRATED, detail, path=f"/files/{FILE}")
