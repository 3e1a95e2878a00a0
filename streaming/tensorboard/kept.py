"""One trainer's TensorBoard as the supervisor keeps it: started, watched, started anew, put to rest, and all of it told.

    stopped | asleep --wanted--> starting --answers--> running
    starting, running --ends, too slow, silent--> failed --after a pause--> starting
    running --too much memory, other settings, asked to--> starting
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import psutil
from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils.timezone import now

from runs.models import Source
from streaming.models import TensorBoard, TensorBoardTransition
from streaming.tensorboard import asked, command, counted, measured
from streaming.tensorboard.child import Child, lives
from streaming.tensorboard.mounts import LOGDIR, mounted
from streaming.tensorboard.sandbox import REFUSED, STALE, Plan
from streaming.tensorboard.wishes import State, wished

#: Seconds until a start has failed; between questions of readiness; of memory; between writes; between counts.
START_WITHIN, READY_EVERY, MEMORY_EVERY, WRITE_EVERY, COUNT_EVERY = 60.0, 0.25, 1.0, 5.0, 60.0
#: While it still reads what there is, it is asked more often; a failed question is asked again, so often.
COUNT_SOON, ASK_AGAIN, SILENCES = 5.0, 10.0, 3
#: One that still shows nothing after that was begun anew once is begun anew after so long.
EMPTY_AGAIN = 600.0
#: Pauses before it is started anew, and after how long it has recovered.
SHORTEST_PAUSE, LONGEST_PAUSE, STEADY = 0.5, 60.0, 60.0
SHARED = ("It runs without a sandbox (TRAINMON_TB_SHARED_HOST=1): whoever has an account on this machine, or in this "
          "container, reaches its port.")
STUCK = ("What ran before cannot be ended: it waits for a file system of its sources that does not answer. "
         "It begins again as soon as that does.")

log = logging.getLogger(__name__)


class Kept:
    """The TensorBoard of one row."""

    def __init__(self, row: TensorBoard) -> None:
        self.pk, self.state, self.reason, self.restarts = row.pk, str(row.state), row.reason, row.restarts
        self.row = row
        self.child: Child | None = None
        self.running = False
        self.pause, self.next_start = 0.0, 0.0
        self.shared, self.room = False, True
        self.asked = row.restart_asked
        self.question: asked.Question | None = None
        self.silences, self.ask_at, self.memory_at, self.write_at = 0, 0.0, 0.0, 0.0
        self.mounted_again, self.found = False, ""
        self.first = "Its supervisor has begun anew." if row.state in (State.STARTING, State.RUNNING) else ""
        self.failure = ""
        self.left: list[psutil.Process] = []
        self.untold: list[TensorBoardTransition] = []
        self.fields: dict[str, Any] = {}

    # what the supervisor calls

    def look(self, row: TensorBoard, sources: list[Source], room: bool = True) -> None:
        """One look: do what is due, then tell; without room it does not begin."""
        self.row, self.room = row, room
        wish = wished(row, sources, now())
        if not wish.runs:
            self.rest(wish.state, wish.reason)
        else:
            try:
                self.keep(self.wanted(sources))
            except ValidationError as error:
                self.rest(State.FAILED, " ".join(error.messages))
        self.tell()

    def rest(self, state: str, reason: str) -> None:
        """End it, if it runs, and say why."""
        self.end()
        self.pause, self.next_start, self.failure = 0.0, 0.0, ""
        if (self.state, self.reason) != (state, reason):
            self.become(state, reason, socket="", log_tail="", next_try=None)

    def end(self) -> None:
        """Nothing of it is left."""
        if self.child is None:
            return
        self.left += self.child.end()
        self.child, self.running, self.question = None, False, None
        self.fields |= {"pid": None, "memory": None, "started": None, "runs_served": None}

    # what is due

    def wanted(self, sources: list[Source]) -> Plan:
        """What should run, as far as it can be said without looking at a disk."""
        folder = Path(settings.PLACES.sockets, "tb", str(self.row.trainer_id))
        logdir = str(folder / "logs") if self.shared else LOGDIR
        logs = {name: source.root for source, name in mounted(sources).items()}
        return Plan(os.getpid(), str(folder), command.command(self.row, logdir), [], hidden(), logs, self.shared)

    def keep(self, plan: Plan) -> None:
        """It should run."""
        wish = self.row.restart_asked != self.asked  # not which is later: clocks are set back
        if self.child is None:
            if self.stuck():
                self.become(State.FAILED, STUCK, next_try=None)
            elif time.monotonic() >= self.next_start or wish:
                self.start(plan) if self.room else self.queue()
        elif self.child.code is not None:
            self.ended()
        elif plan.argv != self.child.plan.argv or plan.logs != self.child.plan.logs:
            self.start_anew("Its settings have changed.", plan)
        elif wish:
            self.start_anew("Somebody asked for it.", plan)
        elif not self.running:
            self.await_answer()
        else:
            self.watch(plan)

    def start(self, plan: Plan, reason: str = "") -> None:
        """Begin; whether it succeeds is seen later."""
        self.asked = self.row.restart_asked
        try:
            make_folder(Path(plan.folder))
            shown = command.needed_paths(command.program(self.row))
            whole = Plan(plan.parent, plan.folder, plan.argv, shown, plan.hidden, plan.logs, plan.shared)
            self.child = Child(whole, log_of(self.row.trainer.slug))
        except OSError as error:  # a full disk, a folder that is not ours: it may pass
            self.fail(f"It could not be started: {error}.")
            return
        self.running, self.found, self.silences, self.ask_at = False, "", 0, 0.0
        again = f"{self.failure} This is another try." if self.failure else ""
        reason, self.first = reason or self.first or again, ""
        self.become(State.STARTING, reason, socket=whole.socket, next_try=None, pid=None, started=None, version="")

    def queue(self) -> None:
        """Others are starting, which takes all of the processors."""
        if self.state != State.STARTING:
            self.become(State.STARTING, "It waits until others have started.")

    def stuck(self) -> bool:
        """Whether something of an earlier one is left that nobody can end: another would soon be one more of them."""
        self.left = [process for process in self.left if lives(process)]
        return bool(self.left)

    @property
    def starting(self) -> bool:
        """Whether it has begun and does not answer yet."""
        return self.child is not None and not self.running

    def start_anew(self, reason: str, plan: Plan, counts: bool = False) -> None:
        """End it and begin again at once."""
        log.info("TensorBoard of %s is started anew: %s", self.row.trainer.slug, reason)
        self.end()
        self.restarts += counts
        self.fields["log_tail"], self.failure = "", ""
        self.start(plan, reason)

    def fail(self, reason: str) -> None:
        """It has failed, and is tried again after a pause that grows."""
        steady = self.child is not None and self.child.age > STEADY and self.running
        tail = self.child.tail() if self.child else ""
        self.end()
        self.pause = SHORTEST_PAUSE if steady or not self.pause else min(2 * self.pause, LONGEST_PAUSE)
        self.next_start = time.monotonic() + self.pause
        self.restarts += 1
        self.failure = reason
        log.warning("TensorBoard of %s: %s", self.row.trainer.slug, reason)
        self.become(State.FAILED, reason, log_tail=tail, socket="", next_try=now() + timedelta(seconds=self.pause))

    def ended(self) -> None:
        """It is no more; why, its exit code says."""
        assert self.child is not None
        if self.child.code == REFUSED:
            self.refused(self.child.tail())
        elif self.child.code == STALE:
            plan = self.child.plan
            self.start_anew("The folder of removed runs has come or gone.", plan)
        else:
            self.fail(f"It {self.child.ending}.")

    def refused(self, why: str) -> None:
        """Without a sandbox it runs only where that was allowed."""
        self.end()
        why = why.splitlines()[-1] if why else "namespaces are refused"
        if settings.TRAINMON_TB_SHARED_HOST and not self.shared:
            log.warning("TensorBoard of %s runs without a sandbox: %s", self.row.trainer.slug, why)
            self.shared, self.next_start = True, 0.0
            return
        self.next_start = time.monotonic() + LONGEST_PAUSE
        self.become(State.STOPPED, f"This machine does not let it be cut off from others ({why}). Allow user namespaces "
                    "(sysctl user.max_user_namespaces, kernel.apparmor_restrict_unprivileged_userns), run it in a container of "
                    "its own, or set TRAINMON_TB_SHARED_HOST=1: then whoever has an account here can read these logs.", socket="")

    def await_answer(self) -> None:
        """Until it answers for the first time, or its time is over."""
        assert self.child is not None
        path, prefix = self.child.plan.socket, command.prefix(self.row.trainer.slug)
        said = self.answer(lambda: asked.version(path, prefix), READY_EVERY)
        if said is not None and not said.trouble:
            self.running, self.ask_at, self.failure = True, 0.0, ""
            self.become(State.RUNNING, SHARED if self.shared else "", version=said.answer, pid=self.pid(),
                        started=now() - timedelta(seconds=self.child.age), log_tail="")
        elif self.child.age > START_WITHIN:
            self.fail(f"It did not answer within {START_WITHIN:.0f} s.")

    def watch(self, plan: Plan) -> None:
        """It runs: its memory, its data server, what it shows."""
        assert self.child is not None
        if time.monotonic() >= self.memory_at:
            self.memory_at = time.monotonic() + MEMORY_EVERY
            processes = self.child.processes()
            limit = self.row.memory_limit * 1024 * 1024
            if sum(process.resident for process in processes) > limit and (took := measured.memory(processes)) > limit:
                self.too_large(f"It took {took / 2**20:,.0f} MiB of memory, its limit is {self.row.memory_limit:,}.", plan)
                return
            if broken := self.broken(processes):
                self.fail(broken)
                return
            if time.monotonic() >= self.write_at:
                self.write_at = time.monotonic() + WRITE_EVERY
                self.fields["memory"] = measured.memory(processes)
                self.child.cut_log()
        path, prefix = self.child.plan.socket, command.prefix(self.row.trainer.slug)
        if (said := self.answer(lambda: asked.runs_served(path, prefix), ASK_AGAIN)) is not None:
            self.counted(said, plan)

    def broken(self, processes: list[measured.Process]) -> str:
        """Why it cannot go on though it has not ended, once two looks have found the same.

        A TensorBoard that is just ending takes its data server along, and says why itself.
        """
        found = "It was halted by a signal." if any(one.halted for one in processes) else ""
        if any(one.zombie and one.depth > self.depth for one in processes):
            found = "Its data server has ended."
        before, self.found = self.found, found
        return found if found == before else ""

    def too_large(self, reason: str, plan: Plan) -> None:
        """It begins anew; one that grows so again at once would do nothing else."""
        assert self.child is not None
        if self.child.age > STEADY:
            self.start_anew(reason, plan, True)
        else:
            self.fail(reason)

    def answer(self, asking: Callable[[], Any], again: float) -> asked.Question | None:
        """A question that has been answered, asked when its time has come; None meanwhile."""
        if self.question is None:
            if time.monotonic() >= self.ask_at:
                self.question = asked.Question(asking)
            return None
        if self.question.open:
            return None
        question, self.question = self.question, None
        self.ask_at = time.monotonic() + again
        return question

    def counted(self, said: asked.Question, plan: Plan) -> None:
        """What it shows beside what there is; who is silent thrice is started anew, who shows nothing once."""
        assert self.child is not None
        if said.trouble:
            self.silences += 1
            if self.silences >= SILENCES:
                self.fail(f"It does not answer: {said.trouble}.")
            return
        on_disk = counted.runs_on_disk(self.row.trainer_id)
        self.silences = 0
        self.fields |= {"runs_served": said.answer, "runs_on_disk": on_disk, "counted": now()}
        age = self.child.age
        young = age < COUNT_EVERY
        self.ask_at = time.monotonic() + (COUNT_SOON if young and said.answer < on_disk else COUNT_EVERY)
        if said.answer:
            self.mounted_again = False
        elif on_disk and age > (EMPTY_AGAIN if self.mounted_again else COUNT_EVERY):
            self.mounted_again = True  # another file system may lie there by now
            self.start_anew(f"It shows none of {on_disk:,} runs: its folders are mounted anew.", plan, True)

    def pid(self) -> int | None:
        """TensorBoard's own process, below those of the sandbox."""
        assert self.child is not None
        return next((process.pid for process in self.child.processes() if process.depth == self.depth), None)

    @property
    def depth(self) -> int:
        """How far TensorBoard's process is below the one that the supervisor started."""
        return 1 if self.shared else 2

    # what is told

    def become(self, state: str, reason: str, **fields: Any) -> None:
        """Another state, or another reason for it; written with the next look at the latest."""
        reason = reason.replace("\0", "")
        if state != self.state:
            self.untold.append(TensorBoardTransition(tensorboard_id=self.pk, old=self.state, new=state, reason=reason))
            fields["since"] = now()
        self.state, self.reason = str(state), reason
        self.fields |= fields | {"state": str(state), "reason": reason, "restarts": self.restarts}

    def tell(self) -> None:
        """Write what is new, together; what the database does not take now is written later."""
        if not self.fields:
            return
        with transaction.atomic():
            TensorBoard.objects.filter(pk=self.pk).update(**self.fields)
            TensorBoardTransition.objects.bulk_create(self.untold)
        self.fields, self.untold = {}, []


def hidden() -> list[str]:
    """What no TensorBoard may see, wherever it lies: trainmon's own data and sockets."""
    return [os.path.realpath(path) for path in (settings.HOME, settings.PLACES.sockets)]


def log_of(slug: str) -> Path:
    """Where a TensorBoard's output goes."""
    return Path(settings.PLACES.logs, f"tensorboard-{slug}.log")


def make_folder(folder: Path) -> None:
    """A folder for nobody but us, in one for nobody but us: who could exchange a socket could show its own pages."""
    sockets: Path = settings.PLACES.sockets
    sockets.mkdir(mode=0o700, parents=True, exist_ok=True)
    database = settings.PLACES.data  # as root the embedded servers' user owns the folder of all sockets
    allowed = {os.geteuid(), *([database.stat().st_uid] if os.geteuid() == 0 and database.exists() else [])}
    if sockets.is_symlink() or (sockets.parent != settings.HOME and sockets.stat().st_uid not in allowed):
        raise OSError(f"{sockets} is not trainmon's own; remove it")
    for path in (sockets / "tb", folder):
        path.mkdir(mode=0o700, exist_ok=True)
        if path.is_symlink() or path.stat().st_uid != os.geteuid():
            raise OSError(f"{path} is not this user's own; remove it")
        path.chmod(0o700)


