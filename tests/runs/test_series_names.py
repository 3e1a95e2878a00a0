"""P18: a metric's name holds no secret, and two names that differ by their secrets stay two metrics."""

from __future__ import annotations

from pathlib import Path

import pytest

from runs.models import Series, Tag
from runs.series import tag_name
from tests.runs.trees import settle, synced, write

ONE, OTHER = "hf_PlantedTokenAbcDef123456", "hf_AnotherTokenXyzUvw987654"


def test_ordinary_names_stay_as_they_are():
    for name in ("train/loss", "tokens_per_second", "disk-usage", "acc@1", "100/1000", "hf_transfer", "lone \ud800"):
        assert tag_name("eval/", name) == f"eval/{name}"


@pytest.mark.django_db
def test_secrets_are_masked_and_tell_metrics_apart(tmp_path: Path):
    write(tmp_path / "run", (f"loss/{ONE}", f"loss/{OTHER}"), 5)
    settle(tmp_path)
    synced(tmp_path)
    names = list(Tag.objects.values_list("name", flat=True))
    assert len(names) == 2 and all(name.startswith("loss/hf_***REDACTED***~") for name in names)
    assert list(Series.objects.values_list("count", flat=True)) == [5, 5]
    synced(tmp_path, full=True)
    assert Tag.objects.count() == 2
