"""The structure of the house: who may import whom, what is documented, what is tested."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
APPS = {"runs", "costs", "streaming", "retention"}
MAY_IMPORT = {"runs": set(), "costs": {"runs"}, "streaming": {"runs"}, "retention": {"runs"}}


def tracked(pattern: str) -> list[str]:
    """Files of the project, by git's pathspec; also the untracked ones it does not ignore."""
    command = ["git", "ls-files", "-co", "--exclude-standard", "--", pattern]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    return [name for name in listed if (ROOT / name).exists()]


def imports(name: str) -> Iterator[str]:
    """The top packages and full names that a file imports."""
    for node in ast.walk(ast.parse((ROOT / name).read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module


@pytest.mark.parametrize("app", sorted(APPS))
def test_an_app_imports_only_what_lies_below_it(app):
    allowed = MAY_IMPORT[app] | {app}
    wrong = [
        (name, module)
        for name in tracked(f"{app}/*.py")
        for module in imports(name)
        if module.split(".")[0] in (APPS | {"trainmon"}) - allowed
    ]
    assert wrong == []


def test_readers_know_neither_django_nor_a_model():
    wrong = [
        (name, module)
        for name in tracked("runs/readers/*.py")
        for module in imports(name)
        if module.split(".")[0] in {"django", "celery", "tensorboard", "google.protobuf"}
        or (module.startswith("runs") and not module.startswith("runs.readers"))
    ]
    assert wrong == []


def test_every_variable_that_settings_read_is_documented():
    text = "".join((ROOT / name).read_text() for name in [*tracked("trainmon/*.py"), "Makefile"])
    read = set(re.findall(r"\b(TRAINMON_[A-Z_]+|DATABASE_URL|REDIS_URL)\b", text))
    documented = (ROOT / "docs/operations.md").read_text()
    assert sorted(name for name in read if name not in documented) == []


def test_every_command_of_ours_is_documented():
    commands = [Path(name).stem for name in tracked("*/management/commands/*.py") if "__init__" not in name]
    texts = "".join((ROOT / name).read_text() for name in ["README.md", "docs/operations.md"])
    assert sorted(name for name in commands if name not in texts) == []


def test_every_command_of_ours_has_a_test():
    commands = [Path(name).stem for name in tracked("*/management/commands/*.py") if "__init__" not in name]
    tests = "".join((ROOT / name).read_text() for name in tracked("tests/*.py") if "test_house" not in name)
    assert sorted(name for name in commands if f'"{name}"' not in tests) == []


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-dev.txt"])
def test_every_package_that_we_chose_is_pinned_with_its_reason(name):
    chosen, _, brought_along = (ROOT / name).read_text().partition("# Brought along")
    lines = [line for line in chosen.splitlines() if line and not line.startswith(("#", "-r"))]
    assert lines and [line for line in lines if "==" not in line or "#" not in line] == []
    assert [line for line in brought_along.splitlines()[1:] if line and "==" not in line] == []


def test_everything_that_the_product_imports_is_among_the_packages_that_we_chose():
    chosen, _, _ = (ROOT / "requirements.txt").read_text().partition("# Brought along")
    pinned = {re.split(r"[\[=]", line)[0].lower().replace("_", "-") for line in chosen.splitlines() if "==" in line}
    ours = APPS | {"trainmon", "manage", "benchmarks"} | set(sys.stdlib_module_names)
    distributions = packages_distributions()
    wanted = {
        module.split(".")[0]: name
        for pattern in ("manage.py", "trainmon/*.py", "runs/*.py", "costs/*.py", "streaming/*.py", "retention/*.py")
        for name in tracked(pattern)
        for module in imports(name)
        if module.split(".")[0] not in ours
    }
    missing = {
        module: name for module, name in wanted.items()
        if not {one.lower().replace("_", "-") for one in distributions.get(module, [module])} & pinned
    }
    assert missing == {}


def test_a_folder_of_tests_is_a_package_else_it_shadows_the_app():
    folders = {Path(name).parent for name in tracked("tests/*.py")}
    assert [str(folder) for folder in folders if not (ROOT / folder / "__init__.py").exists()] == []
