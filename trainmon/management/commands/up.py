"""`manage.py up`: everything that trainmon needs, in one process that looks after the rest."""

from __future__ import annotations

import contextlib
import os
import secrets
import shlex
import subprocess
import sys
import webbrowser
from argparse import ArgumentParser
from socket import socket
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import connections

from trainmon.embedded import binaries, identity, locks, port, postgres, running, valkey
from trainmon.embedded.children import Database
from trainmon.embedded.places import SUPERVISED
from trainmon.embedded.programs import ROOT, Programs
from trainmon.embedded.supervisor import StopRequested, Supervisor

DEFAULT_PORT = 8000
TROUBLES = (
    binaries.NoBinary,
    identity.NobodyCanRun,
    locks.Busy,
    port.NoAddress,
    postgres.StartFailed,
    RuntimeError,
)


def stop_behind(trouble: BaseException | None) -> StopRequested | None:
    """The request to stop that led to this; a library in the middle of a query may fail on its way out."""
    while trouble is not None and not isinstance(trouble, StopRequested):
        trouble = trouble.__context__
    return trouble


class Command(BaseCommand):
    """Start in order, tell where the site is, look after it until Ctrl-C."""

    help = "Run trainmon: database, migrations, first admin, first sync, site, follower, TensorBoards, worker and clock."
    # The database that the checks of other commands ask is what this one starts.
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Each option can also come from the environment, as `make up` gives it."""
        parser.add_argument("sources", nargs="*", help="PATH or NAME=PATH of logs to watch (default: $LOGS)")
        parser.add_argument("--host", default="", help="address to listen on (default: $HOST or 127.0.0.1)")
        parser.add_argument("--port", default="", help="port to listen on (default: $PORT or 8000)")
        parser.add_argument("--open", action="store_true", default=bool(os.environ.get("OPEN")),
                            help="open the site in the browser (default: if $OPEN is set)")

    def handle(self, *args: Any, sources: list[str], host: str, port: str, **options: Any) -> None:
        """One `up` a data directory."""
        self.open = options["open"]
        self.sources = sources or shlex.split(os.environ.get("LOGS", ""))
        self.host = host or os.environ.get("HOST", "") or "127.0.0.1"
        os.environ["HOST"] = self.host  # the site's settings allow host names by it
        self.port = port or os.environ.get("PORT", "")
        self.password = ""
        try:
            with running.sole(settings.PLACES) as lock:
                self.supervise(lock)
        except running.AlreadyRunning as other:
            raise CommandError(
                f"trainmon already runs on {settings.HOME}: {other}. Stop it with `make down`, "
                f"or give this one data of its own: TRAINMON_HOME=/another/directory."
            ) from None
        except TROUBLES as trouble:
            raise CommandError(str(trouble)) from trouble

    def supervise(self, lock: int) -> None:
        """From nothing to a running site, and back to nothing."""
        self.supervisor = Supervisor(settings.PLACES, self.say)
        self.supervisor.logs.limit = settings.TRAINMON_LOG_SIZE * 1024 * 1024
        self.supervisor.logs.parts = settings.TRAINMON_LOG_PARTS
        self.supervisor.logs.sessions = settings.TRAINMON_LOG_SESSIONS
        self.programs = Programs(settings.PLACES)
        try:
            self.supervisor.prepare()
            self.supervisor.logs.put_away()
            self.listener = self.open_port()
            running.introduce(lock, port.address(self.listener))
            self.start_all()
            self.supervisor.run()
        except BaseException as trouble:  # StopRequested is none of the Exceptions
            stop = stop_behind(trouble)
            if stop is None:
                raise
            self.say(f"\n{stop}: stopping ...")
        finally:
            self.show_password()
            self.supervisor.stop()
        self.say("Stopped; nothing is left running.")

    def start_all(self) -> None:
        """The order of things; the site warms up while the first sync reads."""
        self.start_servers()
        self.migrate()
        self.first_admin()
        connections.close_all()
        self.supervisor.add(self.programs.web(self.listener.fileno()))
        something = self.first_sync()
        self.supervisor.add(self.programs.follower())
        self.supervisor.add(self.programs.tensorboards())
        if not something:
            self.supervisor.add(self.programs.demo())
        self.supervisor.add(self.programs.worker())
        self.supervisor.add(self.programs.beat())
        self.supervisor.wait_for(lambda: port.site_answers(self.listener))
        self.show_site()

    def open_port(self) -> socket:
        """The port that was asked for, or near the default one the next that is free."""
        wanted = self.port or str(DEFAULT_PORT)
        if not wanted.isdigit() or int(wanted) > 65535:
            raise port.NoAddress(f"PORT={wanted} is not a port: 1 to 65535.")
        try:
            return port.open_listener(self.host, int(wanted))
        except port.PortTaken as taken:
            if self.port or taken.free is None:
                offer = f" {taken.free} is free: make up PORT={taken.free}" if taken.free else ""
                raise port.NoAddress(f"{taken}{offer}") from None
            self.say(f"{taken} Using {taken.free} instead (PORT=... chooses another).")
            return port.open_listener(self.host, taken.free)

    def start_servers(self) -> None:
        """PostgreSQL and Valkey, each unless a server is given."""
        if os.environ.get("DATABASE_URL"):
            self.say("Using the database of DATABASE_URL.")
        else:
            self.say(f"Starting PostgreSQL in {settings.HOME} ...")
            self.supervisor.hold_database()
            self.supervisor.add(Database(settings.PLACES))
        if os.environ.get("REDIS_URL"):
            return
        bus = self.programs.valkey()
        if bus is None:
            (settings.HOME / "broker").mkdir(exist_ok=True)
            self.say("No Valkey for this platform: the worker gets its tasks by files, pages update more slowly.")
            return
        self.supervisor.add(bus, ready=lambda: valkey.answers(settings.PLACES))

    def migrate(self) -> None:
        """Say how many, not which."""
        from django.db.migrations.executor import MigrationExecutor

        executor = MigrationExecutor(connections["default"])
        waiting = executor.migration_plan(executor.loader.graph.leaf_nodes())
        if waiting:
            self.say(f"Applying {len(waiting)} migration{'s' * (len(waiting) > 1)} ...")
        call_command("migrate", interactive=False, verbosity=0)

    def first_admin(self) -> None:
        """Where nobody could sign in to the admin, somebody now can."""
        from django.contrib.auth.models import Group, User

        if User.objects.filter(is_superuser=True).exists():
            return
        name = os.environ.get("TRAINMON_ADMIN_USER") or "admin"
        given = os.environ.get("TRAINMON_ADMIN_PASSWORD")
        password = given or secrets.token_urlsafe(12)
        user = User.objects.create_superuser(name, password=password)
        user.groups.add(Group.objects.get_or_create(name="admin")[0])
        self.user, self.password = name, "from TRAINMON_ADMIN_PASSWORD" if given else f"{password}   (shown only now)"

    def first_sync(self) -> bool:
        """Register what LOGS names and read it; damage is named, and is no reason not to start.  Whether there are logs."""
        from runs.models import Source

        known = Source.objects.exists()
        connections.close_all()
        if not self.sources and not known:
            self.say("No LOGS were named: a small model is trained meanwhile (a few minutes, labelled demo), to be watched.")
            return False
        self.run_command("sync_runs", *self.sources)
        return True

    def run_command(self, *words: str) -> None:
        """A command of ours on this terminal, while the children are looked after."""
        env = os.environ | {SUPERVISED: str(settings.HOME)}
        command = subprocess.Popen([sys.executable, str(ROOT / "manage.py"), *words], env=env, cwd=os.getcwd())
        self.supervisor.wait_for(lambda: command.poll() is not None)
        if command.returncode == 1 and words[0] == "sync_runs":
            self.say("Something in the logs is damaged or could not be read (named above); all the rest is in.")
        elif command.returncode:
            self.say(f"`manage.py {words[0]}` ended with code {command.returncode}: see above; going on without it.")

    def show_site(self) -> None:
        """The block that a person looks for."""
        lines = [
            f"trainmon is running at  {port.address(self.listener)}",
            f"   data                 {settings.HOME}",
            f"   logs                 {settings.PLACES.logs}",
            "   stop                 Ctrl-C, or `make down` elsewhere",
        ]
        self.say("\n" + "\n".join(lines))
        self.show_password()
        if self.open:
            webbrowser.open(port.address(self.listener))

    def show_password(self) -> None:
        """Once, also when the start was broken off: it is stored nowhere else."""
        if self.password:
            self.say(f"   sign in as           {self.user}\n   password             {self.password}")
            self.password = ""

    def say(self, text: str) -> None:
        """To the terminal, at once; where that has been closed, stopping must go on all the same."""
        with contextlib.suppress(OSError):
            self.stdout.write(text)
            self.stdout.flush()
