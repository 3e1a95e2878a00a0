"""Whatever the tree: each event file has one owner, and no byte is counted twice."""

from __future__ import annotations

import zlib

from hypothesis import given, settings
from hypothesis import strategies as st

from runs.readers import naming
from runs.readers.found import EVENTS, JSONL, Found, FoundRun, Peeked
from runs.readers.layout import PARTS, find_runs
from runs.readers.tree import Directory, File, Totals, Tree, join

DIRECTORIES = st.sampled_from(
    [*sorted(PARTS), b"run", b"loss_a", b"1700000000.5", b"ds", b"runs", b"version_0", b"x\n"]
)
FILES = st.sampled_from(
    [
        b"events.out.tfevents.1",
        b"events.out.tfevents.2.jsonl",
        b"job.jsonl",
        b"args.yaml",
        b"model.bin",
        b".x.tfevents.abcdef",
    ]
)
NODES: st.SearchStrategy[dict] = st.recursive(
    st.just({}),
    lambda children: st.dictionaries(DIRECTORIES, children, max_size=4),
    max_leaves=14,
)
PEEKED = st.sampled_from(
    [
        Peeked(),
        Peeked(tags=("loss",)),
        Peeked(tags=("reward",), dialect="generic"),
        Peeked(tags=("_hparams_/experiment",), dialect="generic", named=("run",)),
    ]
)


@st.composite
def grown(draw: st.DrawFn, node: dict[bytes, dict], path: bytes = b"") -> Directory:
    """A directory of a scan that never was."""
    names = draw(st.sets(FILES, max_size=3))
    files = tuple(File(name, len(path) + 1, len(name), 1, zlib.crc32(path), 512) for name in sorted(names))
    subdirs = tuple(draw(grown(node[name], join(path, name))) for name in sorted(node))
    own = Totals()
    for file in files:
        own = own.plus(Totals(1, file.size, file.allocated, file.mtime_ns))
    total = own
    for child in subdirs:
        total = total.plus(child.total)
    return Directory(path, files, subdirs, len(files) + len(subdirs), own, total)


def owners_of(seen: Found) -> tuple[FoundRun, ...]:
    return (*seen.runs, *seen.undecided)


def never(path: bytes) -> Peeked:
    raise AssertionError(f"looked into {path!r} again")


@st.composite
def found(draw: st.DrawFn) -> tuple[Tree, Found, Found]:
    """A tree, what is found in it, and what a second call finds that may not look."""
    top = draw(NODES.flatmap(grown))
    tree = Tree(b"/volume/logs", 1, 2, top, (), frozenset())
    answers = {join(directory.path, file.name): draw(PEEKED) for directory in top.walk() for file in directory.files}
    first = find_runs(tree, peek=answers.__getitem__)
    return tree, first, find_runs(tree, peek=never, known=first.verdicts)


@settings(max_examples=250, deadline=None)
@given(found())
def test_every_event_file_has_exactly_one_owner(case: tuple[Tree, Found, Found]) -> None:
    tree, seen, _ = case
    logs = [log.path for run in owners_of(seen) for log in run.log_files]
    assert len(logs) == len(set(logs))
    event_files = {
        join(directory.path, file.name)
        for directory in tree.top.walk()
        for file in directory.files
        if naming.is_event_file(directory.path, file.name)
    }
    assert event_files == {log.path for run in owners_of(seen) for log in run.log_files if log.kind == EVENTS}


@settings(max_examples=250, deadline=None)
@given(found())
def test_rows_never_sum_to_more_than_the_tree_and_identities_are_unique(
    case: tuple[Tree, Found, Found],
) -> None:
    tree, seen, again = case
    owners = [run.path for run in owners_of(seen)]
    assert len(owners) == len(set(owners))
    assert sum(run.size for run in seen.runs) <= tree.top.total.size
    assert sum(run.event_files for run in seen.runs) == sum(
        naming.matches_cleanup_glob(file.name) for directory in tree.top.walk() for file in directory.files
    )
    assert again == seen


@settings(max_examples=250, deadline=None)
@given(found())
def test_what_lies_inside_a_run_says_so(case: tuple[Tree, Found, Found]) -> None:
    _, seen, _ = case
    runs = {run.path: run for run in seen.runs}
    for run in owners_of(seen):
        assert run.name and run.name.isprintable()
        if run.inside is not None:
            assert run.path.startswith(runs[run.inside].path)
    for run in seen.runs:
        assert all(runs[path].inside == run.path for path in run.nested)
        for log in run.log_files:
            assert log.kind == JSONL or log.path.startswith(run.path)
