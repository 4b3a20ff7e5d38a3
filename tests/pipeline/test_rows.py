import multiprocessing
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace

import pyarrow.parquet as pq
import pytest

from hasse.data.errors import WorkError
from hasse.data.records import Judgement
from hasse.data.settings import Config
from hasse.pipeline import run as running
from hasse.pipeline.row_chunks import Keys, Unit
from hasse.pipeline.rows import PendingItems, RowTable, WrittenTable, map_rows, missing_units
from hasse.pipeline.stage import Job, Stage, Step
from hasse.pipeline.store import Store


class Settings(Config):
    prompts: tuple[str, ...] = ()
    stop_at: str | None = None
    rows_each: int = 2
    limit: int = 0


CALLS: list[str] = []


def _judge(prompt_ids: list[str], settings: Settings):
    for prompt_id in prompt_ids:
        if prompt_id == settings.stop_at:
            raise KeyboardInterrupt
        CALLS.append(prompt_id)
        yield [
            Judgement(prompt_id=prompt_id, candidate_id=f"c-{i}", teacher="rule", status="ok" if i else "refused")
            for i in range(settings.rows_each)
        ]


def _units(job: Job):
    return [Unit(f"key of {p}", p) for p in job.settings.prompts]


def _run(job: Job) -> None:
    units = _units(job)
    _record(
        job, map_rows(job, units, lambda part: _judge(part, job.settings), Judgement, total=len(units), chunk_size=3)
    )


def _record(job: Job, written: WrittenTable) -> None:
    job.count(Judgement, written.counts)
    job.metrics |= written.metrics


def _missing(job: Job):
    return {"missing": [unit.item for unit in missing_units(job, _units(job), Judgement)]}


@dataclass
class Bench:
    store: Store
    run: Callable[[Job], None] = _run

    def step(self, **settings):
        stage = Stage(name="judge", run=self.run, estimate=_missing)
        return Step(name="judge", stage=stage, settings=Settings(**settings))

    def perform(self, **settings):
        return running.perform(self.store, self.step(**settings), {}, progress=lambda done, total: None).artifact

    def missing(self, **settings):
        return running.estimate(self.store, self.step(**settings), {})["missing"]

    def ids(self, artifact):
        return [(row.prompt_id, row.candidate_id) for row in artifact.records(Judgement)]


@pytest.fixture
def bench(tmp_path):
    CALLS.clear()
    return Bench(Store(tmp_path))


def expected(prompts, rows_each=2):
    return [(p, f"c-{i}") for p in prompts for i in range(rows_each)]


def test_rows_come_in_the_order_of_the_units_and_are_counted_by_status(bench):
    artifact = bench.perform(prompts=tuple("abcdefgh"))
    assert bench.ids(artifact) == expected("abcdefgh")
    assert artifact.manifest.counts == {"judgement": {"ok": 8, "refused": 8}}
    assert artifact.manifest.metrics == {"units": 8, "units_found": 0, "units_computed": 8}


def test_appended_units_alone_are_computed(bench):
    bench.perform(prompts=tuple("bdf"))
    CALLS.clear()
    artifact = bench.perform(prompts=tuple("abcdefg"))
    assert sorted(CALLS) == list("aceg")
    assert bench.ids(artifact) == expected("abcdefg")


def test_an_interrupted_run_keeps_its_whole_chunks(bench):
    with pytest.raises(KeyboardInterrupt):
        bench.perform(prompts=tuple("abcdefgh"), stop_at="h")
    CALLS.clear()
    artifact = bench.perform(prompts=tuple("abcdefgh"))
    assert CALLS == ["g", "h"]
    assert bench.ids(artifact) == expected("abcdefgh")


def test_a_truncated_chunk_is_computed_again(bench):
    bench.perform(prompts=tuple("abcdef"))
    chunk = sorted(bench.store.root.glob("judge/rows/*/*.parquet"))[0]
    lost = set(pq.read_table(chunk, partitioning=None)["prompt_id"].to_pylist())
    chunk.write_bytes(chunk.read_bytes()[:-20])
    CALLS.clear()
    artifact = bench.perform(prompts=tuple("abcdefg"))
    assert set(CALLS) == lost | {"g"}
    assert bench.ids(artifact) == expected("abcdefg")


def test_a_stage_that_loses_a_row_publishes_nothing(bench, monkeypatch):
    monkeypatch.setitem(globals(), "_judge", lambda part, settings: [])
    with pytest.raises(WorkError, match="3 units of a chunk went in but 0 came out"):
        bench.perform(prompts=tuple("abc"))
    assert bench.store.artifacts() == []


def test_a_table_has_the_name_that_it_is_given_and_the_job_is_left_alone(bench):
    def run(job: Job) -> None:
        written = map_rows(
            job,
            _units(job),
            lambda part: _judge(part, job.settings),
            Judgement,
            total=2,
            chunk_size=2,
            table="judgement_again",
        )
        assert (written.path, written.counts) == (job.path / "judgement_again.parquet", {"ok": 2, "refused": 2})
        assert written.metrics == {"units": 2, "units_found": 0, "units_computed": 2}
        assert (job.counts, job.metrics) == ({}, {})

    bench.run = run
    assert list(bench.perform(prompts=tuple("ab")).manifest.files) == ["judgement_again.parquet"]


def test_no_units_make_an_empty_table(bench):
    assert bench.ids(bench.perform(prompts=())) == []


# One stream


def _run_streamed(job: Job) -> None:
    def compute(prompt_ids):
        """Draws from a thread of its own, as far ahead as it can, and loses what it is told to stop at."""
        pending = PendingItems(prompt_ids)
        thread = threading.Thread(target=lambda: [None for _ in pending])
        thread.start()
        thread.join()
        for _ in range(len(pending.drawn)):
            if (prompt_id := pending.oldest()) != job.settings.stop_at:
                yield from _judge([prompt_id], job.settings.model_copy(update={"stop_at": None}))

    units = _units(job)
    _record(job, map_rows(job, units, compute, Judgement, total=len(units), chunk_size=3, stream=True))


def test_a_stream_is_one_call_committed_chunk_by_chunk(bench):
    bench.run = _run_streamed
    bench.perform(prompts=tuple("bd"))
    CALLS.clear()
    artifact = bench.perform(prompts=tuple("abcdefg"))
    assert list("acefg") == CALLS
    assert bench.ids(artifact) == expected("abcdefg")
    chunks = sorted(bench.store.root.glob("judge/rows/*/*.parquet"))
    assert sorted(pq.ParquetFile(chunk).metadata.num_rows for chunk in chunks) == [4, 4, 6]


def test_a_stream_that_loses_a_row_publishes_nothing(bench):
    bench.run = _run_streamed
    with pytest.raises(WorkError, match="1 units of a chunk went in but 0 came out"):
        bench.perform(prompts=tuple("abcd"), stop_at="b")
    assert bench.store.artifacts() == []


def _run_in_parts(job: Job) -> None:
    """Vowels first, in one stream; then the others."""
    units = _units(job)
    rows = RowTable(job, Judgement, total=len(units))
    for is_vowel in (True, False):
        part = [unit for unit in units if (unit.item in "aeiou") is is_vowel]
        rows.add(part, lambda ids: _judge(ids, job.settings), chunk_size=2, stream=is_vowel)
    _record(job, rows.write([unit.key for unit in units]))


def test_parts_that_are_computed_differently_make_one_table(bench):
    bench.run = _run_in_parts
    bench.perform(prompts=tuple("bi"))
    CALLS.clear()
    artifact = bench.perform(prompts=tuple("abcdefghi"))
    assert list("aecdfgh") == CALLS
    assert bench.ids(artifact) == expected("abcdefghi")
    assert artifact.manifest.metrics == {"units": 9, "units_found": 2, "units_computed": 7}


# A limit that is raised


def _run_limited(job: Job) -> None:
    keys = Keys.of({"temperature": 1, "chat": {"max_tokens": job.settings.limit}}, "task")
    units = [keys.unit(prompt_id, prompt_id) for prompt_id in job.settings.prompts]

    def compute(prompt_ids):
        for prompt_id in prompt_ids:
            CALLS.append(prompt_id)
            status = "ok" if ord(prompt_id) - ord("a") < job.settings.limit else "truncated"
            yield [Judgement(prompt_id=prompt_id, candidate_id="c-0", teacher="rule", status=status)]

    _record(job, map_rows(job, units, compute, Judgement, total=len(units), chunk_size=3))


def test_with_a_higher_limit_only_what_was_cut_off_is_computed_again(bench):
    bench.run = _run_limited
    asked = []
    for limit in (2, 4, 6, 4, 5):
        CALLS.clear()
        artifact = bench.perform(prompts=tuple("abcdef"), limit=limit)
        assert bench.ids(artifact) == expected("abcdef", 1)
        found = [row.status for row in artifact.records(Judgement)]
        assert found == ["ok"] * limit + ["truncated"] * (6 - limit)
        asked.append("".join(CALLS))
    assert asked == ["abcdef", "cdef", "ef", "", "ef"]


def test_a_lower_limit_is_another_question(bench):
    bench.run = _run_limited
    bench.perform(prompts=tuple("abc"), limit=6)
    CALLS.clear()
    bench.perform(prompts=tuple("abc"), limit=2)
    assert list("abc") == CALLS


def test_of_two_limits_neither_is_left_out_of_the_key():
    with_two = Keys.of({"max_tokens": 3, "chat": {"max_tokens": 4}}).unit("x", "x")
    assert (with_two.base, with_two.limit) == ("", 0)
    one, other = (Keys.of({"max_tokens": n, "seed": 0}).unit("x", "x") for n in (3, 4))
    assert (one.base, one.limit, other.limit) == (other.base, 3, 4)
    assert one.key != other.key
    assert Keys.of({"max_tokens": 3, "seed": 1}).unit("x", "x").base != one.base


# Rows that are no result yet


STATUS: dict[str, str] = {}


def _some_fail(prompt_ids, settings):
    for prompt_id in prompt_ids:
        CALLS.append(prompt_id)
        rows = [Judgement(prompt_id=prompt_id, candidate_id=f"c-{i}", teacher="rule") for i in range(2)]
        yield [replace(rows[0], status=STATUS.get(prompt_id, "ok")), rows[1]]  # one of its rows is enough


def test_failed_and_unpaid_rows_are_kept_and_computed_again(bench, monkeypatch):
    monkeypatch.setitem(globals(), "_judge", _some_fail)
    monkeypatch.setitem(globals(), "STATUS", {"b": "failed", "c": "budget_stopped", "f": "failed", "g": "refused"})
    first = bench.perform(prompts=tuple("abcdefg"))
    assert first.manifest.counts == {"judgement": {"budget_stopped": 1, "failed": 2, "ok": 10, "refused": 1}}
    assert first.manifest.open_units == {"budget_stopped": 1, "failed": 2}
    CALLS.clear()
    STATUS.pop("c")
    second = bench.perform(prompts=tuple("abcdefg"))
    assert list("bcf") == CALLS
    assert second.manifest.open_units == {"failed": 2}
    assert second.manifest.identity != first.manifest.identity
    STATUS.clear()
    CALLS.clear()
    last = bench.perform(prompts=tuple("abcdefg"))
    assert list("bf") == CALLS
    assert last.manifest.open_units == {}
    assert bench.ids(last) == expected("abcdefg")
    CALLS.clear()
    bench.perform(prompts=tuple("abcdefg"))
    assert CALLS == []


def test_what_is_missing_is_what_would_be_computed(bench, monkeypatch):
    monkeypatch.setitem(globals(), "_judge", _some_fail)
    monkeypatch.setitem(globals(), "STATUS", {"b": "failed"})
    bench.perform(prompts=tuple("abc"))
    assert bench.missing(prompts=tuple("abcd")) == ["b", "d"]


def _die_writing_a_chunk(bench):
    os.fsync = lambda handle: os._exit(9)
    bench.perform(prompts=("a", "b"))


def test_a_chunk_that_was_being_written_at_a_kill_leaves_nothing(bench):
    process = multiprocessing.get_context("fork").Process(target=_die_writing_a_chunk, args=(bench,))
    process.start()
    process.join()
    assert process.exitcode == 9
    assert list(bench.store.root.rglob("*.begun"))
    assert sorted(bench.perform(prompts=("a", "b")).manifest.files) == ["judgement.parquet"]
    assert not list(bench.store.root.rglob("*.begun"))
