"""PostgreSQL as a measure: a throw-away cluster on a unix socket, fed through `psql`, durable as it comes.

`measured` yields nothing where the server is not installed. A single row is an INSERT, more are a COPY; each
is a transaction of its own, acknowledged before the next begins.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

OWNER = "postgres"
CREATE = (
    "create table entry(seq bigint not null, ts_us bigint not null, source text not null, id text not null, "
    "type text not null, subject text, head text not null, data text, salt bytea, leaf bytea not null, "
    "prev bytea not null, h bytea not null);"
)

Rows = Sequence[tuple[object, ...]]


def programs() -> Path | None:
    """Return the folder of the newest installed server's programs."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return found[-1].parent if found else None


@contextmanager
def session(folder: Path, programs: Path) -> Iterator[subprocess.Popen[str]]:
    """Run a cluster in a folder of its own and yield a client that speaks to it."""
    place = Path(tempfile.mkdtemp(prefix="pg-", dir=folder.parent))
    as_owner: list[str] = []
    if os.geteuid() == 0:
        shutil.chown(place, OWNER, OWNER)
        as_owner = ["runuser", "-u", OWNER, "--"]
    data, options = place / "data", f"-c listen_addresses='' -c unix_socket_directories='{place}'"
    quietly([*as_owner, str(programs / "initdb"), "-D", str(data), "-A", "trust", "-U", OWNER])
    control = [*as_owner, str(programs / "pg_ctl"), "-D", str(data), "-w"]
    quietly([*control, "-o", options, "start"])
    try:
        command = ["psql", "-X", "-h", str(place), "-U", OWNER, "-d", "postgres"]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as client:
            say(client, CREATE)
            yield client
            assert client.stdin is not None
            client.stdin.close()
    finally:
        quietly([*control, "-m", "immediate", "stop"])
        shutil.rmtree(place, ignore_errors=True)


def quietly(command: list[str]) -> None:
    """Run a program of the server, in a folder that its owner may enter."""
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True, cwd="/")


def rate(client: subprocess.Popen[str], rows: Rows, seconds: float) -> float:
    """Return rows a second when these rows are committed again and again."""
    lines = ["\t".join(map(spelled, row)) for row in rows]
    statement = "copy entry from stdin;\n" + "\n".join(lines) + "\n\\."
    if len(rows) == 1:
        values = ", ".join("null" if value is None else f"'{spelled(value)}'" for value in rows[0])
        statement = f"insert into entry values ({values.replace(chr(92) * 2 + 'x', chr(92) + 'x')});"  # noqa: S608 - ours
    done, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        say(client, statement)
        done += len(rows)
    return done / (time.perf_counter() - start)


def say(client: subprocess.Popen[str], statement: str) -> None:
    """Send a statement and wait until the server has acknowledged it."""
    assert client.stdin is not None
    assert client.stdout is not None
    client.stdin.write(statement + "\n")
    client.stdin.flush()
    answer = client.stdout.readline()
    if not answer.startswith(("COPY", "INSERT", "CREATE")):
        raise RuntimeError(f"psql: {answer!r}")


def spelled(value: object) -> str:
    """Return a value as COPY reads it."""
    if value is None:
        return r"\N"
    if isinstance(value, bytes):
        return rf"\\x{value.hex()}"
    return str(value).replace("\\", "\\\\")
