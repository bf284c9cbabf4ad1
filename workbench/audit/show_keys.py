"""Keys as tables: a ceremony's record, an inventory, what is due. In the style of `workbench.desk.show`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from workbench.audit.keys import MINUTE, Inventory, Record, done_words, engine
from workbench.client import Client
from workbench.desk.show import Shown, facts, table
from workbench.rules.assertion import CONSOLE
from workbench.rules.events import CloudEvent
from workbench.rules.key_life import Life
from workbench.rules.key_operation import Arrangement
from workbench.rules.words import words

CLAIMED = ("LOCAL", "ALWAYS_SENSITIVE", "NEVER_EXTRACTABLE")
"""What a token must claim of a sealing key or a whole key; a claim that is missing is none."""


def present(record: Record) -> Shown:
    """Return whose sessions are open, as the ledger has them."""
    rows = [
        {"person": each.person, "roles": ", ".join(each.roles), "since": f"{each.since:{MINUTE}}"}
        for each in record.present
    ]
    return table("Whose sessions are open", rows)


def ordered(record: Record) -> Shown:
    """Return what was ordered, and by whom."""
    operation, made = record.made.signed.operation, record.made
    shared = operation.parameters
    parties = shared.parties if isinstance(shared, Arrangement) else []
    paths = {name: "second path" if path == CONSOLE else "page" for name, path in made.officers.items()}
    return facts(
        f"The order: make {operation.key}",
        {
            "shared by": ", ".join(parties),
            "sign together": f"{made.threshold} of {len(parties)}",
            "reason": operation.reason,
            "signed by": ", ".join(f"{name} ({path})" for name, path in paths.items()),
            "words": words(operation.digest),
            "digest": operation.digest,
        },
    )


def stand(record: Record) -> Shown:
    """Return where each co-signer stands, as officers have signed it."""
    rows = [
        {
            "co-signer": name,
            "site": place.site,
            "host": place.host,
            "token by": place.vendor,
            "administrator": place.administrator,
            "team": place.team,
        }
        for name, place in sorted(record.places.items())
    ]
    return table("Where the shares are", rows)


def tokens(record: Record) -> Shown:
    """Return what each co-signer says of its token: what failed, and what is claimed of its keys."""
    rows = []
    for held in record.made.held:
        report = record.tokens.get(held.cosigner)
        if report is None:
            rows.append({"co-signer": held.cosigner, "token": "NO REPORT", "self-test": "-", "keys": "-"})
            continue
        lacking = [
            f"{key.label} lacks {name}"
            for key in report.keys
            for name in CLAIMED
            if key.attributes.get(name) is not True
        ]
        rows.append(
            {
                "co-signer": held.cosigner,
                "token": f"{report.token.model}, {report.token.serial}",
                "self-test": f"FAILED: {', '.join(report.failed)}" if report.failed else "passed",
                "keys": "; ".join(lacking) or f"{len(report.keys)}, none extractable",
            }
        )
    return table("The tokens under which the shares lie", rows)


def derived(record: Record) -> Shown:
    """Return the address that each co-signer derives, beside its own point."""
    rows = [
        {"party": each.party, "co-signer": each.cosigner, "address": each.address, "own point": each.point}
        for each in record.made.held
    ]
    title = f"Every party derives this address; any {record.made.threshold} points give the key"
    return table(title, rows)


def kept(life: Life) -> Shown:
    """Return who keeps backups, of which epoch, and when they were tried last."""
    rows = [
        {
            "share of": each.cosigner,
            "kept by": ", ".join(each.keepers) or "NOBODY",
            "backed up": done_words(each.backed_up),
            "tried": done_words(each.tried),
            "restored": done_words(each.restored),
        }
        for each in life.shares.values()
    ]
    return table(f"Backups of {life.name}; epoch {life.epoch} is in use", rows if life.is_shared else [])


def history(life: Life) -> Shown:
    """Return a key's life, entry by entry."""
    rows = [
        {"entry": each.seq, "at": f"{each.at:{MINUTE}}", "what": each.event, "state": each.state.value}
        for each in life.moments
    ]
    return table(f"The life of {life.name}", rows)


def keys(found: Inventory) -> Shown:
    """Return every key, where it stands and since when."""
    rows = [
        {
            "key": each.name,
            "state": each.state.value,
            "since": f"{each.since:{MINUTE}}",
            "engine": engine(each),
            "epoch": each.epoch,
            "held by": ", ".join(each.shares) or "-",
            "address": each.address,
        }
        for each in found.keys
    ]
    return table("Keys", rows)


def due(found: Inventory, now: datetime) -> Shown:
    """Return what is to be done."""
    rows = [{"key": each.name, "to do": what} for each in found.keys for what in each.due(now)]
    return table("What is due", rows)


def expiries(found: Inventory, now: datetime) -> Shown:
    """Return what runs out, the first to end first."""
    rows = [
        {
            "what": each.kind,
            "until": f"{each.until:{MINUTE}}",
            "days": (each.until - now).days,
            "of": each.what,
        }
        for each in found.expiries
    ]
    return table("What runs out", rows)


def inventory(found: Inventory, now: datetime) -> Shown:
    """Return every key, what is due, and what runs out."""
    parts = (keys(found), due(found, now), expiries(found, now))
    return Shown("".join(each.markup for each in parts))


def record(client: Client, made: Record, *, witnesses: Sequence[str]) -> Shown:
    """Leave the ceremony's record in the ledger, in the name of who leads it; show where it is.

    Args:
        client: of the person who leads it.
        made: what was proven.
        witnesses: who was there in person, by id.

    """
    proven = made.made
    data = {
        "order": proven.signed.operation.digest,
        "key": proven.signed.operation.key,
        "address": proven.address,
        "parties": [each.cosigner for each in proven.held],
        "threshold": proven.threshold,
        "ledger_size": made.size,
        "witnesses": list(witnesses),
    }
    event = CloudEvent.load(
        {
            "specversion": "1.0",
            "id": proven.signed.operation.digest,
            "source": "key-ceremony",
            "type": "external.key-ceremony",
            "dataschema": "desk/key-ceremony/v1",
            "data": data,
        }
    )
    (place,) = client.record([event])
    return facts("The record", {"entry": place.seq, "h": place.h, **_flat(data)})


def conclusion(made: Record) -> Shown:
    """Say what was proven."""
    proven = made.made
    return facts(
        "Conclusion",
        {
            "key": f"{proven.signed.operation.key}, {proven.address}",
            "ordered by": ", ".join(sorted(proven.officers)),
            "held by": f"{len(proven.held)} co-signers, {proven.threshold} of whom sign together",
            "whole": "nowhere: their points lie on one polynomial of that degree",
            "words of the address": words(proven.address.removeprefix("0x").lower().ljust(64, "0")),
        },
    )


def _flat(data: dict[str, object]) -> dict[str, str]:
    return {
        name: ", ".join(map(str, value)) if isinstance(value, list) else str(value)
        for name, value in data.items()
    }
