"""One writer at a time, and none that is dead."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from multiprocessing.synchronize import Event
from pathlib import Path

import pytest

from cache import SplitManifest, open_split_writer
from configs import UserError

SplitOf = Callable[..., SplitManifest]
Forked = Callable[..., AbstractContextManager[BaseProcess]]
Writing = Callable[..., AbstractContextManager[tuple[BaseProcess, int]]]


def _hold(store: Path, manifest: SplitManifest, ready: Connection, child: bool, **place: int) -> None:
    """Write until somebody kills this process; with a forked child that sleeps, if asked."""
    with open_split_writer(store, manifest, **place) as split:
        split.begin(split.unfinished()[0])
        sleeper = os.fork() if child else 0
        if child and not sleeper:
            time.sleep(60)
            os._exit(0)
        ready.send(sleeper)
        time.sleep(60)


@pytest.fixture
def writer(forked: Forked, store: Path) -> Writing:
    """Another process that holds the split's lock: the process, and its sleeping child's id."""

    @contextmanager
    def started(
        manifest: SplitManifest, *, child: bool = False, process: int = 0, processes: int = 1
    ) -> Iterator[tuple[BaseProcess, int]]:
        receive, send = get_context("fork").Pipe(duplex=False)
        with forked(_hold, store, manifest, send, child, process=process, processes=processes) as holder:
            assert receive.poll(30)
            sleeper = receive.recv()
            try:
                yield holder, sleeper
            finally:
                if sleeper:
                    os.kill(sleeper, signal.SIGKILL)

    return started


def _kill(process: BaseProcess) -> None:
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL


def test_second_writer_is_refused_with_the_id_of_the_first(
    store: Path,
    split_manifest: SplitOf,
    writer: Writing,
) -> None:
    with writer(split_manifest()) as (holder, _):
        refused = pytest.raises(UserError, match=f"is being written by process {holder.pid}:")
        with refused, open_split_writer(store, split_manifest()):
            pass


def test_refused_writer_leaves_the_first_one_its_lock(
    store: Path,
    split_manifest: SplitOf,
    writer: Writing,
) -> None:
    with writer(split_manifest()):
        for _ in range(2):
            with (
                pytest.raises(UserError, match="is being written"),
                open_split_writer(store, split_manifest()),
            ):
                pass


def test_other_split_of_the_store_can_be_written_meanwhile(
    store: Path,
    split_manifest: SplitOf,
    writer: Writing,
) -> None:
    with writer(split_manifest()), open_split_writer(store, split_manifest(split="test")) as split:
        assert split.unfinished() == [0, 1, 2]


def test_killed_writer_does_not_block_the_next(
    store: Path,
    split_manifest: SplitOf,
    writer: Writing,
) -> None:
    with writer(split_manifest()) as (holder, _):
        _kill(holder)
        with open_split_writer(store, split_manifest()) as split:
            assert split.unfinished() == [0, 1, 2]


def test_child_of_a_killed_writer_does_not_block_the_next(
    store: Path,
    split_manifest: SplitOf,
    writer: Writing,
) -> None:
    with writer(split_manifest(), child=True) as (holder, sleeper):
        _kill(holder)
        os.kill(sleeper, 0)  # raises unless it lives
        with open_split_writer(store, split_manifest()) as split:
            assert split.unfinished() == [0, 1, 2]


def test_processes_of_one_run_do_not_block_each_other(
    store: Path,
    split_manifest: SplitOf,
    writer: Writing,
) -> None:
    manifest = split_manifest()
    with (
        writer(manifest, process=0, processes=2),
        open_split_writer(store, manifest, process=1, processes=2) as split,
    ):
        assert split.unfinished() == [1]


def test_second_run_keeps_off_the_shard_that_a_process_of_the_first_still_writes(
    store: Path,
    split_manifest: SplitOf,
    writer: Writing,
) -> None:
    with (
        writer(split_manifest(), process=1, processes=2) as (holder, _),
        open_split_writer(store, split_manifest()) as split,
    ):
        split.begin(0).abort()
        with pytest.raises(UserError, match="is being written"):
            split.begin(1)
        _kill(holder)
        split.begin(1).abort()


def test_lock_file_is_empty_when_nobody_writes(store: Path, split_manifest: SplitOf) -> None:
    with open_split_writer(store, split_manifest()) as split:
        assert (split.folder / ".lock").read_text() == str(os.getpid())
    assert (split.folder / ".lock").read_text() == ""


def _open(store: Path, manifest: SplitManifest, result: Connection) -> None:
    try:
        with open_split_writer(store, manifest):
            result.send("opened")
    except UserError as error:
        result.send(str(error))


def test_writer_of_another_manifest_gives_the_lock_back(
    store: Path, split_manifest: SplitOf, forked: Forked
) -> None:
    with open_split_writer(store, split_manifest()):
        pass
    with pytest.raises(UserError) as refused, open_split_writer(store, split_manifest(fingerprint="f2")):
        pass
    receive, send = get_context("fork").Pipe(duplex=False)
    with forked(_open, store, split_manifest(), send):
        assert receive.poll(30)
        assert receive.recv() == "opened", refused.value


def _begin(store: Path, manifest: SplitManifest, start: Event, place: int, result: Connection) -> None:
    start.wait()
    try:
        with open_split_writer(store, manifest, process=place, processes=8) as split:
            result.send(split.unfinished())
    except Exception as error:
        result.send(repr(error))


def test_jobs_that_begin_a_split_at_once_do_not_disturb_each_other(
    store: Path, split_manifest: SplitOf, forked: Forked
) -> None:
    context = get_context("fork")
    start, (receive, send) = context.Event(), context.Pipe(duplex=False)
    with ExitStack() as jobs:
        for place in range(8):
            jobs.enter_context(forked(_begin, store, split_manifest(), start, place, send))
        start.set()
        begun = []
        for _ in range(8):
            assert receive.poll(30)
            begun.append(receive.recv())
    assert sorted(begun) == [[], [], [], [], [], [0], [1], [2]]
