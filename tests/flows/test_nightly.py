"""Nights on a source that grows: what is computed, what is promoted, what is left alone."""

import re
import shutil
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from hasse.data.errors import CorruptFile, InputError, RecipeError, StoreError, WorkError
from hasse.data.parquet import write_records
from hasse.data.records import Candidate, Evaluation, Prompt
from hasse.flows.nightly.night import AlreadyRunning, alone, hours_late, night
from hasse.flows.nightly.promotion import compare
from hasse.flows.run.history import history_path, pinned, read_history
from hasse.flows.run.prune import outdated, prunable
from hasse.flows.run.run import Run
from hasse.pipeline.sealed import read_sealed, seal
from hasse.pipeline.store import Imagined
from tests.flows.colours import ABSURD, Place, Silent, append, row


@pytest.fixture(scope="module")
def nights(tmp_path_factory, make_hasse):
    """Three nights: 50 rows and a bad learning rate, 50 rows appended, 50 rows in a new file and a bad rate again.

    While the third one samples, somebody starts another.
    """
    place = Place(tmp_path_factory.mktemp("nights"))
    command = make_hasse(place.folder)
    append(place.rows / "1.jsonl", [row(i, why="label: warm", split="pretrain") for i in range(1000, 1064)])
    append(place.rows / "1.jsonl", map(row, range(50)))
    first = place.night(ABSURD)
    append(place.rows / "1.jsonl", map(row, range(50, 100)))
    second = place.night()
    append(place.rows / "2.jsonl", map(row, range(100, 150)))
    said = []

    class Intruder(Silent):
        def started(self, step):
            if step.name == "generate":
                said.append(command("nightly", str(place.folder / "colours.yaml"), code=1))
            return super().started(step)

    third = place.night(ABSURD, listener=Intruder())
    verdicts, runs = zip(first, second, third, strict=True)
    return SimpleNamespace(place=place, hasse=command, verdicts=verdicts, runs=runs, second_said=said)


@pytest.fixture
def copied(nights, tmp_path):
    """The place after three nights, to be changed."""
    shutil.copytree(nights.place.folder, tmp_path, dirs_exist_ok=True)
    return Place(tmp_path)


def prompts(run):
    return {p.prompt_id: p for p in run.artifacts["prompts"].records(Prompt)}


def test_a_night_samples_and_judges_exactly_its_new_rows(nights):
    before = set()
    for run in nights.runs:
        asked = {i for i, p in prompts(run).items() if p.split == "train"}
        new = len(asked - before)
        assert 25 < new < 45
        metrics = {step: run.artifacts[step].manifest.metrics for step in ("generate", "judge", "order")}
        assert metrics["generate"]["units_computed"] == 2 * new
        assert metrics["judge"]["units_computed"] == metrics["order"]["units_computed"] == new
        assert metrics["generate"]["units"] == 2 * len(asked)
        before = asked
    assert len({run.artifacts["student"].ref for run in nights.runs}) == 1


def test_old_rows_stay_as_they_were(nights):
    for earlier, later in zip(nights.runs, nights.runs[1:], strict=False):
        before, after = prompts(earlier), prompts(later)
        assert len(after) == len(before) + 50
        assert {i: after[i] for i in before} == before
        assert later.artifacts["prompts"].manifest.metrics["carried"] == len(before)
        kept, found = (
            {(c.prompt_id, c.candidate_id): c for c in run.artifacts["generate"].records(Candidate)}
            for run in (earlier, later)
        )
        assert {key: found[key] for key in kept} == kept


def test_a_worse_model_is_not_promoted_and_a_better_one_is(nights):
    first, second, third = nights.verdicts
    assert [v.promoted for v in nights.verdicts] == [False, True, False]
    assert [v.rival for v in nights.verdicts] == ["student", "student", "latest"]
    assert first.comparison.high < 0
    assert first.reason.startswith("nothing is promoted: sft/seed-0 against student, greedy_strict: -")
    assert second.comparison.low > 20
    assert second.reason.startswith("promoted: sft/seed-0 against student")
    assert third.comparison.high < -20
    assert third.reason.startswith("the latest model stays: sft/seed-0 against latest")
    assert third.rival_checkpoint == second.checkpoint
    history = read_history(nights.place.store, "colours")
    assert history.nights == nights.verdicts
    assert history.latest == second


def test_the_latest_model_answers_tonights_prompts_and_training_starts_from_it(nights):
    _, second, third = nights.runs
    held_out = {i for i, p in prompts(third).items() if p.split == "test"}
    for name in ("student", "latest", "sft/seed-0"):
        assert {e.prompt_id for e in third.artifacts[f"evaluate/{name}"].records(Evaluation)} == held_out
    assert nights.verdicts[2].comparison.num_prompts == len(held_out)
    inputs = {step: third.artifacts[step].manifest.inputs["student"] for step in ("train/sft/seed-0", "generate")}
    assert inputs["train/sft/seed-0"] == [third.artifacts["latest"].ref]
    assert inputs["generate"] == [third.artifacts["student"].ref]
    promoted = second.artifacts["train/sft/seed-0"].manifest.identity
    assert third.artifacts["latest"].manifest.identity == promoted
    assert "latest" in [row["arm"] for row in third.artifacts["report"].manifest.metrics["results"]]


def test_of_two_nights_at_once_one_runs(nights):
    (said,) = nights.second_said
    assert "a night of colours is running already (process" in said
    assert "Traceback" not in said
    assert len(read_history(nights.place.store, "colours").nights) == 3
    with alone(nights.place.store, "colours"), pytest.raises(AlreadyRunning), alone(nights.place.store, "colours"):
        pass
    with alone(nights.place.store, "colours"), alone(nights.place.store, "another"):
        pass


def test_the_command_shows_the_latest_model(nights):
    store = nights.place.store
    folder = (store.root / nights.verdicts[1].checkpoint / "model").absolute()
    assert nights.hasse("latest", "colours", "--path").strip() == str(folder)
    assert (folder / "model.safetensors").exists()
    found = nights.hasse.json("latest", "colours")
    assert found["latest"]["checkpoint"] == nights.verdicts[1].checkpoint
    assert found["latest"]["comparison"]["low"] > 20
    assert [n["promoted"] for n in found["nights"]] == [False, True, False]
    shown = nights.hasse("latest", nights.place.folder / "colours.yaml")
    assert "against" in shown
    assert str(folder) in shown
    (row,) = nights.hasse.json("latest")
    assert (row["recipe"], row["nights"], row["model"]) == ("colours", 3, str(folder))
    assert "unknown recipe with nights 'colour'; did you mean 'colours'" in nights.hasse("latest", "colour", code=2)


def test_prune_keeps_what_the_latest_points_at_and_the_next_night_goes_on(copied, nights):
    verdict = nights.verdicts[1]
    third = {artifact.ref for artifact in nights.runs[2].artifacts.values()}
    assert verdict.checkpoint not in third, "no recent run has used it"
    gone = prunable(copied.store, keep_runs=1)
    for name in gone:
        copied.store.delete(name)
    left = {artifact.ref for artifact in copied.store.artifacts()}
    assert nights.runs[0].artifacts["train/sft/seed-0"].ref not in left
    assert left == third | pinned(copied.store)
    assert {verdict.checkpoint, verdict.evaluation} <= left
    append(copied.rows / "3.jsonl", map(row, range(150, 160)))
    found, run = copied.night("nightly.keep_runs=1")
    assert found.rival_checkpoint == verdict.checkpoint
    assert run.artifacts["generate"].manifest.metrics["units_computed"] < 20
    left = {artifact.ref for artifact in copied.store.artifacts()}
    assert left == {artifact.ref for artifact in run.artifacts.values()} | pinned(copied.store)


def test_a_night_that_deletes_leaves_what_other_recipes_use(copied, nights):
    record = read_sealed(next((copied.store.root / "runs").glob("*.json")), kind="run record")
    other = nights.runs[0].artifacts["train/sft/seed-0"].ref
    record |= {"run_id": "other", "status": "running", "steps": [{**record["steps"][0], "ref": other}]}
    record["recipe"] |= {"name": "other"}
    (copied.store.root / "runs" / "other.json").write_text(seal(record))
    gone = set(outdated(copied.store, "colours", keep_runs=1))
    assert nights.runs[0].artifacts["evaluate/sft/seed-0"].ref in gone
    assert other not in gone
    assert not gone & pinned(copied.store)
    assert outdated(copied.store, "colours", keep_runs=3) == []


def test_a_night_that_is_recorded_is_not_run_again(copied, nights):
    def fail(recipe):
        raise AssertionError("it was run")

    recorded = nights.verdicts[1]
    found, run = night(copied.recipe(), copied.store, fail, name=recorded.night)
    assert found == recorded
    assert run.done == []


def test_a_failed_night_leaves_the_record_as_it_was(copied):
    path = history_path(copied.store, "colours")
    before = path.read_bytes()

    def fail(recipe) -> Run:
        raise WorkError("the disk is full")

    with pytest.raises(WorkError, match="disk is full"):
        night(copied.recipe(), copied.store, fail)
    assert path.read_bytes() == before
    with alone(copied.store, "colours"):
        pass


def test_a_change_that_would_move_old_prompts_is_refused(copied):
    with pytest.raises(InputError, match=r"prompts\.split_seed was 0 and is 1\. Old prompts keep their splits"):
        copied.night("prompts.split_seed=1")
    with pytest.raises(InputError, match=r"student\.scratch\.hidden_size was 32 and is 64"):
        copied.night("student.scratch.hidden_size=64")


def test_a_latest_model_that_is_damaged_stops_the_night(copied, nights):
    path = copied.store.root / nights.verdicts[1].checkpoint / "model" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(StoreError, match=f"{nights.verdicts[1].checkpoint}, from which the nights of colours continue"):
        copied.night()
    history_path(copied.store, "colours").write_text("{")
    with pytest.raises(CorruptFile, match="is not a record of nights"):
        copied.night()


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ("nightly={arm: stf}", r"nightly\.arm: unknown arm 'stf'; did you mean 'sft'"),
        ("train.arms.rescue={method: rescue}", r"nightly\.arm: say which of sft, rescue may be promoted"),
        ("nightly.seed=7", r"nightly\.seed: 7 is not one of train\.seeds, \[0\]"),
        ("nightly.metric=sampled_strict", r"sampled_strict needs evaluate\.num_samples of 1 or more"),
        ("nightly.metric=greedy_score", "compares with gold answers; a task with labels has none"),
        ("nightly.timezone=Mars", "'Mars' is not a time zone"),
        ("nightly.cron=daily", "has 1 fields instead of 5"),
        ("prompts.fractions={pretrain: 0.5, train: 0.3}", "new rows would join the split pretrain"),
        ("source={kind: multidoc, path: x}", "in the source multidoc a new row changes old prompts"),
        ("train.arms={latest: {method: sft}}", "an arm cannot be called 'latest'"),
    ],
)
def test_a_section_that_cannot_work_is_refused(tmp_path, change, problem):
    with pytest.raises(RecipeError, match=problem):
        Place(tmp_path).recipe(change)


def test_a_recipe_without_the_section_is_told_so(tmp_path):
    place = Place(tmp_path)
    append(place.rows / "1.jsonl", map(row, range(5)))
    with pytest.raises(InputError, match="has no section `nightly`"):
        place.night("nightly=null")


def evaluation(folder, right):
    """Greedy answers to 40 prompts, of which the first so many are right."""
    folder.mkdir()
    rows = [
        Evaluation(
            prompt_id=f"{i:02}", cluster_id=f"{i:02}", split="test", decoding="greedy", text="", num_tokens=1,
            correct_strict=i < right, correct_loose=True,
        )
        for i in range(40)
    ]  # fmt: skip
    write_records(folder / "evaluation.parquet", rows, Evaluation)
    return Imagined(folder)


def test_only_a_lower_bound_above_the_wanted_gain_wins(tmp_path):
    better, worse = evaluation(tmp_path / "better", 30), evaluation(tmp_path / "worse", 20)

    def found(one, other, **rule):
        return compare(one, other, **{"metric": "greedy_strict", "min_gain": 0.0, "num_resamples": 2000} | rule)

    won = found(better, worse)
    assert won.gain == 25
    # 10 of 40 differ, all one way: a standard error of sqrt(.25 * .75 / 40) = 6.8 points
    assert won.low == pytest.approx(25 - 1.96 * 6.8, abs=2.5)
    assert won.is_won
    assert found(better, worse, min_gain=10.0).is_won
    assert not found(better, worse, min_gain=15.0).is_won
    assert not found(worse, better).is_won
    assert not found(better, better).is_won, "the same again is not better"
    assert not found(better, worse, metric="greedy_loose").is_won, "by the loose reading both are always right"


NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)


def test_lateness_counts_from_the_scheduled_time():
    assert hours_late(NOON, NOON + timedelta(hours=7, minutes=30), 6.0) == 7.5
    assert hours_late(NOON, NOON + timedelta(hours=6), 6.0) is None
    assert hours_late(NOON, NOON + timedelta(days=3), None) is None


@pytest.fixture(scope="module")
def prefect_server(tmp_path_factory):
    """A server of its own, whose clients keep their results in a folder of the tests."""
    from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, PREFECT_LOCAL_STORAGE_PATH, temporary_settings
    from prefect.testing.utilities import prefect_test_harness

    changes = {
        PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None,
        PREFECT_LOCAL_STORAGE_PATH: tmp_path_factory.mktemp("results"),
    }
    with prefect_test_harness(server_startup_timeout=120), temporary_settings(changes):
        yield


def scheduled_night(place, recipe, *, hours_ago, again=False):
    """A flow run whose time was some hours ago, run now; gives its final state as the server has it, and its id.

    again: it is retried once it has ended.
    """
    from prefect.client.orchestration import get_client
    from prefect.flow_engine import run_flow
    from prefect.states import AwaitingRetry, Scheduled

    from hasse.flows.server.nightly_flow import nightly_flow

    parameters = {"recipe": recipe, "store": str(place.store.root)}
    with get_client(sync_client=True) as client:
        at = datetime.now(UTC) - timedelta(hours=hours_ago)
        sent = {**parameters, "recipe": recipe.model_dump(mode="json")}
        run = client.create_flow_run(nightly_flow, parameters=sent, state=Scheduled(scheduled_time=at))
        run_flow(nightly_flow, flow_run=run, parameters=parameters, return_type="state")
        if again:
            client.set_flow_run_state(run.id, AwaitingRetry(), force=True)
            run = client.read_flow_run(run.id)
            run_flow(nightly_flow, flow_run=run, parameters=parameters, return_type="state")
        return client.read_flow_run(run.id).state, str(run.id)


def test_a_late_night_drops_itself(copied, prefect_server):
    before = history_path(copied.store, "colours").read_bytes()
    state, _ = scheduled_night(copied, copied.recipe(), hours_ago=7.31)
    assert (state.type.value, state.name, state.message) == ("CANCELLED", "Dropped", "dropped, 7.3 hours late")
    assert history_path(copied.store, "colours").read_bytes() == before


def test_a_late_night_that_somebody_retries_runs(copied, prefect_server):
    state, name = scheduled_night(copied, copied.recipe(ABSURD), hours_ago=8, again=True)
    assert state.type.value == "COMPLETED"
    assert read_history(copied.store, "colours").nights[-1].night == name


def test_a_night_as_a_flow_leaves_the_same_record(copied, prefect_server):
    with alone(copied.store, "colours"):
        state, _ = scheduled_night(copied, copied.recipe(), hours_ago=0)
    assert (state.type.value, state.name) == ("CANCELLED", "Dropped")
    assert "is running already" in state.message
    state, name = scheduled_night(copied, copied.recipe(ABSURD), hours_ago=1)
    assert state.type.value == "COMPLETED"
    last = read_history(copied.store, "colours").nights[-1]
    assert (last.night, last.promoted, last.rival) == (name, False, "latest")
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        pages = [str(a.data) for a in client.read_artifacts() if a.key == "nightly-colours"]
    assert any(last.run in page and last.reason in page for page in pages)


def test_a_recipe_gives_the_schedule_of_its_deployment(tmp_path):
    from hasse.flows.server.nightly_flow import schedule_of

    found = schedule_of(Place(tmp_path).recipe("nightly={cron: 30 1 * * 1-5, timezone: Europe/Berlin}"))
    assert (found.schedule.cron, found.schedule.timezone) == ("30 1 * * 1-5", "Europe/Berlin")
    assert schedule_of(Place(tmp_path).recipe("nightly={cron: null}")) is None
    assert schedule_of(Place(tmp_path).recipe("nightly={cron: 0 0 29 2 *}")).schedule.cron == "0 0 29 2 *"
    for wrong, found in (("99 * * * *", "is not a schedule"), ("0 0 31 2 *", "never comes")):
        with pytest.raises(InputError, match=rf"nightly\.cron: '{re.escape(wrong)}' {found}"):
            schedule_of(Place(tmp_path).recipe(f"nightly={{cron: {wrong}}}"))
