"""What docs/api.md says of pushing is done as it stands; the schema in docs/ is the one that is applied."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

from runs.models import Run, Source
from runs.readers import pushed
from runs.sync import sync
from tests.docs.conftest import Site
from tests.runs.processes import ROOT


def test_the_published_schema_is_the_one_that_is_applied() -> None:
    assert json.loads((ROOT / "docs/ingest.schema.json").read_text()) == pushed.schema()


def test_the_examples_of_pushing_run_as_they_stand(site: Site, token: str, tmp_path: Path) -> None:
    site.start()
    blocks = re.findall(r"^```bash\n(.*?)^```$", (ROOT / "docs/api.md").read_text(), re.DOTALL | re.MULTILINE)
    env = os.environ | {"TRAINMON_URL": site.url, "TRAINMON_PUSH_TOKEN": token}
    answers = [
        subprocess.run(["bash", "-euo", "pipefail", "-c", block], cwd=tmp_path, env=env, capture_output=True, check=True)
        for block in blocks
    ]
    assert json.loads(answers[0].stdout)["accepted"] == 2
    assert answers[1].stdout == b'{"offset":600}{"offset":1000}'
    there = site.home / "pushed/lora/mnist/first/events.out.tfevents.1.host"
    assert there.read_bytes() == (tmp_path / "events.out.tfevents.1.host").read_bytes()
    there.unlink()
    sync(Source.objects.get().pk, isolate="here")
    assert Run.objects.get().point_count == 2
