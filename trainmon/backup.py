"""The whole database into one file and back: pg_dump's own format, with a manifest beside it.

The manifest says what the dump must be (SHA-256) and what a restore must bring back (rows of each
table, counted in the very snapshot that was dumped).
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
from django.db import connection
from django.db.migrations.loader import MigrationLoader
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from trainmon import __version__
from trainmon.embedded import binaries
from trainmon.embedded.identity import die_with

FORMAT = 1
# Everything that is not PostgreSQL's own or an extension's.
OURS = """
    from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where n.nspname not in ('pg_catalog', 'information_schema') and n.nspname not like 'pg\\_t%%'
    and not exists (select from pg_depend d where d.objid = c.oid and d.deptype = 'e')
"""


class Refused(Exception):
    """A backup or restore that was not begun, or was undone; the text says why."""


@dataclass(frozen=True)
class Manifest:
    """What a backup is."""

    sha256: str
    size: int
    made: str
    server: int
    migrations: list[str]
    rows: dict[str, int]
    trainmon: str = __version__
    format: int = FORMAT

    @property
    def total_rows(self) -> int:
        """Rows of all tables."""
        return sum(self.rows.values())


def manifest_path(backup: Path) -> Path:
    """Beside the backup."""
    return backup.with_name(backup.name + ".manifest.json")


def back_up(target: Path) -> Manifest:
    """Dump into a file that appears only when it is complete, on disk, and has been read back."""
    for path in (target, manifest_path(target)):
        if path.exists():
            raise Refused(f"{path} exists; a backup never replaces another.")
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        with psycopg.connect(conninfo()) as client:
            rows, migrations, server = dump(client, part)
        flush(part)
        contents = run("pg_restore", server, ["--list", str(part)])
        missing = [table for table in rows if f"TABLE DATA {table.replace('.', ' ', 1)} " not in contents]
        if missing:
            raise Refused(f"The dump lacks tables: {', '.join(missing)}")
        made = datetime.now(UTC).isoformat(timespec="seconds")
        manifest = Manifest(sha256_of(part), part.stat().st_size, made, server, migrations, rows)
        # The manifest first: a backup without one would have to be taken on trust.
        write_new(manifest_path(target), json.dumps(asdict(manifest), indent=1) + "\n")
        publish(part, target)
        return manifest
    finally:
        part.unlink(missing_ok=True)


def dump(client: psycopg.Connection[Any], part: Path) -> tuple[dict[str, int], list[str], int]:
    """Dump one snapshot, and count its rows."""
    client.execute("set transaction isolation level repeatable read, read only")
    snapshot = one(client, "select pg_export_snapshot()")
    rows = count_rows(client)
    applied = client.execute("select app, name from django_migrations order by id")
    migrations = [f"{app}.{name}" for app, name in applied]
    server = client.info.server_version // 10000
    os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    run("pg_dump", server, ["--format=custom", f"--snapshot={snapshot}", f"--file={part}", *target_of(conninfo())])
    return rows, migrations, server


def restore(backup: Path, into: str = "") -> Manifest:
    """Bring a backup back into the configured database if that is empty, else into a new one."""
    manifest = read_manifest(backup)
    known = {f"{app}.{name}" for app, name in MigrationLoader(None).disk_migrations}
    newer = [name for name in manifest.migrations if name not in known]
    if newer:
        raise Refused(
            f"The backup was made by trainmon {manifest.trainmon}, whose migrations this one "
            f"({__version__}) does not have: {', '.join(newer[:5])}. Install that version or a newer one."
        )
    with new_database(into) if into else empty_database() as where:
        with psycopg.connect(where) as client:
            server = client.info.server_version // 10000
        wanted = ["--single-transaction", "--exit-on-error", "--no-owner", "--no-privileges"]
        run("pg_restore", max(server, manifest.server), [*wanted, *target_of(where), str(backup)])
        with psycopg.connect(where, autocommit=True) as client:
            compare(manifest.rows, count_rows(client))
            client.execute("analyze")
    return manifest


def compare(expected: dict[str, int], found: dict[str, int]) -> None:
    """Every table with every row."""
    wrong = {name: (count, found.get(name)) for name, count in expected.items() if found.get(name) != count}
    if wrong:
        said = ", ".join(f"{name}: {count} expected, {got} found" for name, (count, got) in wrong.items())
        raise Refused(f"The restored database differs from the backup: {said}")


def read_manifest(backup: Path) -> Manifest:
    """The manifest, after the file was found to be what it says."""
    try:
        said = json.loads(manifest_path(backup).read_text())
        manifest = Manifest(**said)
        size = backup.stat().st_size
    except FileNotFoundError as error:
        raise Refused(f"{error.filename} is missing.") from None
    except (ValueError, TypeError) as error:
        raise Refused(f"{manifest_path(backup)} is no manifest of this version: {error}") from None
    if size != manifest.size or sha256_of(backup) != manifest.sha256:
        raise Refused(f"{backup} is damaged: its SHA-256 or size is not the one in {manifest_path(backup).name}.")
    return manifest


@contextmanager
def empty_database() -> Iterator[str]:
    """The configured database, where nothing can be lost."""
    with psycopg.connect(conninfo()) as client:
        held = one(client, "select count(*) " + OURS + " and c.relkind in ('r', 'p', 'v', 'm', 'S')")
        name = client.info.dbname
    if held:
        raise Refused(
            f"The database {name} is not empty ({held} tables, views and sequences). Restore into a new one: "
            f"--into NAME, or an empty TRAINMON_HOME, or a DATABASE_URL that names an empty database."
        )
    yield conninfo()


@contextmanager
def new_database(name: str) -> Iterator[str]:
    """A database made for this restore, and dropped again if that fails."""
    with psycopg.connect(conninfo(), autocommit=True) as client:
        if client.execute("select 1 from pg_database where datname = %s", [name]).fetchone():
            raise Refused(f"A database {name} exists already.")
        identifier = sql.Identifier(name)
        client.execute(sql.SQL("create database {} template template0 encoding 'UTF8'").format(identifier))
        try:
            yield conninfo(dbname=name)
        except BaseException:
            client.execute(sql.SQL("drop database {} with (force)").format(identifier))
            raise


def conninfo(**changed: str) -> str:
    """Django's database as libpq is told of it."""
    params = connection.get_connection_params()
    own = ("prepare_threshold", "server_side_binding")  # psycopg's, not libpq's
    plain = {name: str(value) for name, value in params.items() if isinstance(value, str | int) and name not in own}
    return make_conninfo("", **{name: value for name, value in (plain | changed).items() if value})


def target_of(where: str) -> list[str]:
    """The database for a program's command line; its password goes by the environment."""
    params = {name: str(value) for name, value in conninfo_to_dict(where).items() if name != "password"}
    return [f"--dbname={make_conninfo('', **params)}"]


def run(name: str, server: int, words: list[str]) -> str:
    """One of PostgreSQL's programs, ended with us; returns what it prints."""
    password = conninfo_to_dict(conninfo()).get("password")
    env = {key: value for key, value in os.environ.items() if key == "PATH" or key.startswith(("PGPASS", "PGSSL"))}
    env |= {"LC_ALL": "C"} | ({"PGPASSWORD": str(password)} if password else {})
    done = subprocess.run(
        [str(binaries.client_program(name, server)), *words],
        env=env,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=dies_with_us(),
    )
    if done.returncode != 0:
        raise Refused(f"{name} ended with code {done.returncode}:\n{done.stderr.strip()[-2000:]}")
    return done.stdout


def dies_with_us() -> Callable[[], None]:
    """A dump without its manifest is of no use to anybody."""
    parent = os.getpid()
    return lambda: die_with(parent, signal.SIGKILL)


def count_rows(client: psycopg.Connection[Any]) -> dict[str, int]:
    """Rows of every table, by its full name."""
    tables = client.execute(f"select n.nspname, c.relname {OURS} and c.relkind = 'r' order by 1, 2").fetchall()
    return {
        f"{schema}.{table}": one(client, sql.SQL("select count(*) from {}").format(sql.Identifier(schema, table)))
        for schema, table in tables
    }


def one(client: psycopg.Connection[Any], query: Any) -> Any:
    """The one value of a query."""
    row = client.execute(query).fetchone()
    assert row is not None
    return row[0]


def sha256_of(path: Path) -> str:
    """Read from the disk."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def flush(path: Path) -> None:
    """Onto the disk."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def write_new(path: Path, text: str) -> None:
    """A small file that did not exist, onto the disk."""
    fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    with os.fdopen(fd, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(fd)


def publish(part: Path, target: Path) -> None:
    """Give the finished file its name; a name taken meanwhile is not replaced."""
    try:
        os.link(part, target)
    except FileExistsError:
        raise Refused(f"{target} has been made by somebody else meanwhile.") from None
    except OSError:  # a file system without hard links
        part.rename(target)
    flush(target.parent)
