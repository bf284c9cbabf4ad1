"""External events: what a person's programs leave in the audit trail, as CloudEvents.

They are claims of whoever sent them and decide nothing: their types begin with
`external.`, their source with the sender's name, so that none can pass for what the
service records, nor take a name that another sender will need. Writer and reader of the
ledger both rely on that; it stands here once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import Field

from ledger.entry import Event
from workbench.rules.codes import Refusal, RefusedError
from workbench.rules.documents import Document

EXTERNAL = "external."
EVENTS_MAX = 1_000
"""In one batch; a body ends at four megabytes anyway."""
Attribute = Annotated[str, Field(min_length=1, max_length=900)]
"""A CloudEvents attribute; the ledger allows 1024, the sender's name is put before the source."""


class CloudEvent(Document):
    """One event of a batch (CloudEvents 1.0, JSON format); `data` is an object in canonical JSON."""

    specversion: Literal["1.0"]
    id: Attribute
    source: Attribute
    type: Annotated[str, Field(pattern=r"^external\.[a-z0-9][a-z0-9._-]{0,200}$")]
    dataschema: Attribute
    data: dict[str, Any]
    datacontenttype: Literal["application/json"] = "application/json"
    subject: Attribute | None = None

    def of(self, person: str) -> Event:
        """Return the ledger's event: the sender is its actor and the beginning of its source."""
        return Event(
            source=f"client/{person}/{self.source}",
            id=self.id,
            type=self.type,
            actor=person,
            dataschema=self.dataschema,
            data=self.data,
            subject=self.subject,
        )

    @classmethod
    def batch(cls, value: object) -> Sequence[Self]:
        """Read a batch: a JSON array of 1 to EVENTS_MAX events."""
        if not isinstance(value, list) or not 1 <= len(value) <= EVENTS_MAX:
            raise RefusedError(Refusal.MALFORMED, f"a batch is an array of 1 to {EVENTS_MAX} events")
        return [cls.load(each, at=f"/{place}") for place, each in enumerate(value)]
