"""Several versions of TensorBoard run side by side, each from a virtual environment of its own (CH-19)."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tensorboardX import SummaryWriter

from streaming.models import TensorBoard
from streaming.tensorboard import asked
from streaming.tensorboard.supervisor import Supervisor
from tests.runs.factories import make_source, make_trainer
from tests.streaming.tensorboard.boxes import ROOT, until

#: What each needs beside itself, as it was released.
VERSIONS = {"2.16.2": ["numpy<2", "setuptools<81"], "2.19.0": ["setuptools<81"]}


def installed(version: str) -> str:
    """The program of a version from PyPI; the environment is kept for the next time."""
    folder = ROOT / "var" / "tensorboards" / version
    program = folder / "bin" / "tensorboard"
    if not program.exists():
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        words = [folder / "bin" / "python", "-m", "pip", "install", "-q", "--disable-pip-version-check"]
        subprocess.run([*words, f"tensorboard=={version}", *VERSIONS[version]], check=True)
    return str(program)


@pytest.mark.soak
@pytest.mark.django_db
def test_two_other_versions_run_beside_our_own(tmp_path: Path, settings: Any) -> None:
    settings.TRAINMON_TB_PROGRAMS = [installed(version) for version in VERSIONS]
    for number, executable in enumerate(["", *settings.TRAINMON_TB_PROGRAMS]):
        with SummaryWriter(str(tmp_path / str(number) / f"run-{number}")) as writer:
            writer.add_scalar("loss", 0.5, 1)
        trainer = make_trainer(f"trainer-{number}")
        make_source(trainer, root=str(tmp_path / str(number)))
        TensorBoard.objects.create(trainer=trainer, executable=executable)
    supervisor = Supervisor()
    try:
        def all_run() -> bool:
            supervisor.look()
            return TensorBoard.objects.filter(state="running").count() == 3

        assert until(all_run, 90), list(TensorBoard.objects.values("state", "reason", "log_tail"))
        rows = list(TensorBoard.objects.order_by("trainer"))
        assert [row.version for row in rows][1:] == list(VERSIONS) and rows[0].version not in VERSIONS
        for number, row in enumerate(rows):
            where = row.socket, f"/tensorboard/{row.trainer.slug}/data/runs"
            assert until(lambda where=where, number=number: asked.ask(*where) == [f"run-{number}"], 20)
    finally:
        supervisor.stop()
