"""Expectations of a table, run by great-expectations: what all suites have in common.

A suite is data: types of expectations, their arguments, and in `meta` a name and plain words for each. It
runs in a checkpoint over one table or view in DuckDB, whose rows have a `place`; the Data Docs are written
for a browser without a network. What stands in the table, and what it is compared with, is the caller's.

Fail closed: an expectation that raised, or that the library does not answer for, has failed; a suite that
cannot be read or run raises.

What is overridden of the library, and why: connections are kept open for duckdb too (`KEPT`), since it reads
a result after closing its connection, and DuckDB drops the result with that; no progress bars, analytics or
log lines, since a report must be the same in every run. It takes seconds to import and is imported only
here, in the run that needs it.
"""

from __future__ import annotations

import json
import logging
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import duckdb

from ledger import tally_sql
from ledger.verifier import plain
from workbench.audit import docs as data_docs

SUITES: Final = Path(__file__).resolve().parents[2] / "policies" / "expectations"
SUITE_MAX = 1024 * 1024  # bytes
SAMPLE = 5  # places shown for an expectation
KEPT = "_PERSISTED_CONNECTION_DIALECTS"
ROWS_QUERY = "unexpected_rows_query"
SELECT_PLACES = "select place from ({query}) order by place limit {sample}"


class QualityError(Exception):
    """The suite cannot be read, or did not run."""


@dataclass(frozen=True, slots=True)
class Expected:
    """What became of one expectation."""

    name: str
    says: str
    passed: bool
    unexpected: int
    places: tuple[int, ...]
    problem: str  # why it has no count: it raised, or the library did not answer


@dataclass(frozen=True, slots=True)
class Quality:
    """What became of the suite, an expectation a row, in the order of the file."""

    expected: tuple[Expected, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    """A suite's file, read."""

    name: str
    lists: Mapping[str, Sequence[str]]
    expectations: Sequence[Mapping[str, Any]]

    @classmethod
    def read(cls, path: Path, *, lists: Sequence[str] = ()) -> Suite:
        """Read the file; each expectation needs a name of its own and plain words.

        Args:
            path: the file.
            lists: the lists of words that its `meta` must have, none of them empty.

        """
        try:
            with path.open("rb") as file:
                document = json.loads(file.read(SUITE_MAX))
            suite = cls(
                name=str(document["name"]),
                lists={name: [str(word) for word in document["meta"][name]] for name in lists},
                expectations=document["expectations"],
            )
            names = [each["meta"]["name"] for each in suite.expectations]
            words = [each["meta"]["says"] for each in suite.expectations]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise QualityError(f"{path.name} is not a suite: {error!r:.200}") from error
        empty = [name for name, words_of in suite.lists.items() if not words_of]
        if empty or not names or len(set(names)) != len(names) or not all(words):
            raise QualityError(
                f"{path.name}: no {empty}, or an expectation without a name of its own or words"
            )
        return suite


def run(
    suite: Suite,
    prepare: Callable[[duckdb.DuckDBPyConnection], None],
    *,
    table: str,
    parameters: Mapping[str, Any],
    docs: Path | None = None,
) -> Quality:
    """Run the suite over what `prepare` puts into an empty database; it is called twice.

    Args:
        suite: the expectations.
        prepare: makes the table, and whatever else its queries ask.
        table: its name.
        parameters: what expectations take by `$PARAMETER`.
        docs: a folder for the Data Docs, if they are wanted.

    """
    with TemporaryDirectory(prefix="quality-") as folder:
        database = Path(folder) / "rows.duckdb"
        with duckdb.connect(str(database)) as writer:
            prepare(writer)
        results = _run(suite, database, table, dict(parameters), docs)
    with tally_sql.engine() as reader:
        prepare(reader)
        expected = tuple(
            _expected(each, results.get(each["meta"]["name"]), reader, table) for each in suite.expectations
        )
    if docs is not None:
        data_docs.take_offline(docs)
    return Quality(expected)


def _run(
    suite: Suite, database: Path, table: str, parameters: dict[str, Any], docs: Path | None
) -> dict[str, dict[str, Any]]:
    library = _library()
    # The plain words stand in the docs in place of the library's own.
    expectations = [{**each, "description": each["meta"]["says"]} for each in suite.expectations]
    try:
        context = _context(library, docs)
        source = context.data_sources.add_sql(name=suite.name, connection_string=f"duckdb:///{database}")
        batch = source.add_table_asset(name=table, table_name=table).add_batch_definition_whole_table(table)
        made = context.suites.add(library.ExpectationSuite(name=suite.name, expectations=expectations))
        definition = context.validation_definitions.add(
            library.ValidationDefinition(name=suite.name, data=batch, suite=made)
        )
        checkpoint = context.checkpoints.add(
            library.Checkpoint(
                name=suite.name,
                validation_definitions=[definition],
                actions=[library.checkpoint.UpdateDataDocsAction(name="docs")] if docs else [],
                result_format={
                    "result_format": "SUMMARY",
                    "unexpected_index_column_names": ["place"],
                    "partial_unexpected_count": SAMPLE,
                },
            )
        )
        (result,) = checkpoint.run(expectation_parameters=parameters).run_results.values()
        source.get_execution_engine().close()
    except Exception as error:
        # The library raises what it likes; whatever it was, there is no result.
        raise QualityError(f"the suite did not run: {type(error).__name__}: {error!s:.500}") from error
    return {each.expectation_config.meta["name"]: each.to_json_dict() for each in result.results}


def _expected(
    each: Mapping[str, Any],
    result: Mapping[str, Any] | None,
    reader: duckdb.DuckDBPyConnection,
    table: str,
) -> Expected:
    meta, query = each["meta"], each["kwargs"].get(ROWS_QUERY)
    said = (result or {}).get("result") or {}
    problem = _problem(result)
    # Of no rows at all, the library counts None.
    count = said.get("observed_value" if query else "unexpected_count") or 0
    passed = result is not None and result["success"] is True and not problem
    if query and not passed and not problem:
        answer = reader.execute(SELECT_PLACES.format(query=query.format(batch=table), sample=SAMPLE))
        places = [place for (place,) in answer.fetchall()]
    else:
        places = [found["place"] for found in said.get("partial_unexpected_index_list") or []]
    return Expected(
        name=meta["name"],
        says=meta["says"],
        passed=passed,
        unexpected=int(count),
        places=tuple(sorted(places)[:SAMPLE]),
        problem=problem,
    )


def _problem(result: Mapping[str, Any] | None) -> str:
    if result is None:
        return "the library did not answer for it"
    raised = result.get("exception_info") or {}
    # One exception is told flat, several by the metric that raised.
    for told in [raised, *(each for each in raised.values() if isinstance(each, dict))]:
        if told.get("raised_exception"):
            return plain(f"it raised: {told.get('exception_message')}".split("\n", 1)[0])
    return ""


def _library() -> Any:  # noqa: ANN401 - the library's module
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    # Here, because it takes seconds and only this run needs it.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what it warns of while it is imported is its own affair
        import great_expectations  # noqa: PLC0415
        from great_expectations.execution_engine import sqlalchemy_execution_engine as engine  # noqa: PLC0415

    # What it logs of an expectation that raises stands in the result, too.
    logging.getLogger("great_expectations").addHandler(logging.NullHandler())
    # There is no public way to say it.
    if not any(dialect.value == "duckdb" for dialect in getattr(engine, KEPT)):
        setattr(engine, KEPT, (*getattr(engine, KEPT), _Dialect("duckdb")))
    return great_expectations


class _Dialect(str):
    """The name of a dialect, with the attribute that the library looks at."""

    __slots__ = ()

    @property
    def value(self) -> str:
        return str(self)


def _context(library: Any, docs: Path | None) -> Any:  # noqa: ANN401 - the library's objects
    from great_expectations.data_context.types import base  # noqa: PLC0415 - as in _library

    site = {
        "class_name": "SiteBuilder",
        "show_how_to_buttons": False,
        "store_backend": {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(docs)},
        # Its index is drawn by scripts.
        "site_index_builder": {"class_name": "DefaultSiteIndexBuilder", "validation_results_limit": 0},
    }
    config = base.DataContextConfig(
        store_backend_defaults=base.InMemoryStoreBackendDefaults(),
        data_docs_sites={"docs": site} if docs else {},
        analytics_enabled=False,
        progress_bars=base.ProgressBarsConfig(globally=False),
    )
    return library.get_context(mode="ephemeral", project_config=config)
