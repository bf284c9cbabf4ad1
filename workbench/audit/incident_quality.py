"""Quality of a file of incidents, before anything is calibrated from it.

great-expectations judges the rows by `policies/expectations/incidents.json`: names and thefts that stand
twice, values that cannot be, years without an incident, losses that nobody knows. The reader of the
calibration (`risk.exposure.incidents.read`) refuses at the first wrong value; here everything that is wrong
is told, with its row, and what is only suspicious, too. A file that has not the shape of one raises
IncidentError.

Left to others: whether the list is a sample at all, which no look at its rows tells.
"""

from __future__ import annotations

from datetime import date
from pathlib import Path

import duckdb

from workbench.audit import suites
from workbench.audit.suites import SUITES, Quality, Suite
from workbench.risk.exposure.incidents import COLUMNS, shape

SUITE = SUITES / "incidents.json"
TABLE = "incident"

# A day is one only as YYYY-MM-DD, a loss only in digits: casts take more than that.
CREATE_TABLE = r"""
create table incident as
select *,
    case when regexp_full_match(date, '\d{4}-\d\d-\d\d') then try_cast(date as date) end as day,
    case when regexp_full_match(loss_usd, '-?\d+(\.\d+)?') then try_cast(loss_usd as decimal(38, 6))
        end as loss
from (
    select unnest(range(len($id))) as place, unnest($id::varchar[]) as id, unnest($date::varchar[]) as date,
        unnest($loss_usd::varchar[]) as loss_usd, unnest($class::varchar[]) as class,
        unnest($source::varchar[]) as source
)
"""


def examine(raw: bytes, *, today: date, suite: Path = SUITE, docs: Path | None = None) -> Quality:
    """Run the suite over a file of incidents.

    Args:
        raw: the file, CSV or JSON.
        today: no incident is later.
        suite: the expectations.
        docs: a folder for the Data Docs, if they are wanted.

    """
    read = Suite.read(suite)
    rows = shape(raw)
    columns = {name: [_text(row[name]) for row in rows] for name in COLUMNS}

    def prepare(database: duckdb.DuckDBPyConnection) -> None:
        database.execute(CREATE_TABLE, columns)
        database.execute("create table told as select $today::date as today", {"today": today})

    return suites.run(read, prepare, table=TABLE, parameters={}, docs=docs)


def _text(value: object) -> str | None:
    # A number of a JSON file may have an exponent; in digits it is the same.
    if value is None or isinstance(value, str):
        return value
    return format(value, "f") if hasattr(value, "as_tuple") else str(value)
