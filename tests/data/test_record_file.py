import tracemalloc
from dataclasses import replace

import pyarrow as pa
import pytest

from hasse.data.record_file import ROWS_PER_BATCH, MappedRecords
from hasse.data.records import Completion, PairIndex, TrainingExample


@pytest.fixture
def example():
    return TrainingExample(
        prompt_id="p",
        cluster_id="p",
        prompt_token_ids=(1, 5, 9) * 50,
        completions=(
            Completion(candidate_id="c-0", token_ids=(4, 8, 2) * 20, source="human", level=2.0),
            Completion(candidate_id="c-1", token_ids=(3, 2), source="student", level=1.0),
        ),
        pairs=(PairIndex(above=0, below=1),),
        target=0,
    )


def test_what_is_written_is_read(example, tmp_path):
    examples = [
        replace(example, prompt_id=f"p{i}", reference_logps=(-1.0, float(i)) if i % 2 else None)
        for i in range(2 * ROWS_PER_BATCH + 3)
    ]
    table = MappedRecords.write(tmp_path / "a" / "examples.arrow", iter(examples), TrainingExample)
    assert len(table) == len(examples)
    assert list(table) == examples
    assert [table[i] for i in (0, ROWS_PER_BATCH - 1, ROWS_PER_BATCH, 2 * ROWS_PER_BATCH + 2)] == [
        examples[i] for i in (0, ROWS_PER_BATCH - 1, ROWS_PER_BATCH, 2 * ROWS_PER_BATCH + 2)
    ]
    with pytest.raises(IndexError, match="row 1027 of 1027"):
        table[len(examples)]


def test_nothing_is_an_empty_table(tmp_path):
    assert list(MappedRecords.write(tmp_path / "examples.arrow", [], TrainingExample)) == []


def test_memory_does_not_grow_with_the_number_of_examples(example, tmp_path):
    def peak(number):
        pool = pa.default_memory_pool()
        before = pool.bytes_allocated()
        tracemalloc.start()
        rows = (replace(example, prompt_id=f"p{i:06}") for i in range(number))
        table = MappedRecords.write(tmp_path / f"{number}.arrow", rows, TrainingExample)
        for i in range(0, number, 7):
            assert table[i].prompt_id == f"p{i:06}"
        assert sum(1 for _ in table) == number
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most + pool.bytes_allocated() - before

    few, many = peak(2 * ROWS_PER_BATCH), peak(12 * ROWS_PER_BATCH)
    assert many < 1.2 * few
