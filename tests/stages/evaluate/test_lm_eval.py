"""lm-eval's command line and its results; the harness itself where an interpreter that has it is named."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from hasse.data.errors import WorkError
from hasse.stages.evaluate.lm_eval import LmEvalSettings, command, read_results, rows

INTERPRETER = os.environ.get("HASSE_LM_EVAL_PYTHON")


def test_the_command_says_what_the_settings_say():
    settings = LmEvalSettings(tasks=["a", "b"], num_fewshot=2, limit=5, python="/py")
    found = command(settings, Path("model"), Path("out"))
    assert found[:3] == ["/py", "-m", "lm_eval"]
    given = dict(zip(found[3::2], found[4::2], strict=True))
    assert given["--tasks"] == "a,b"
    assert (given["--num_fewshot"], given["--limit"]) == ("2", "5")
    assert given["--model_args"] == "pretrained=model,dtype=auto,trust_remote_code=False,use_safetensors=True"
    assert "--include_path" not in given


def test_results_are_read_with_their_standard_errors(tmp_path):
    (tmp_path / "model").mkdir()
    values = {"alias": "t", "acc,none": 0.5, "acc_stderr,none": 0.1, "f1,strict": 0.25, "f1_stderr,strict": "N/A"}
    (tmp_path / "model" / "results_2026.json").write_text(json.dumps({"results": {"t": values}}))
    found = read_results(tmp_path)
    assert found == {"t": {"acc": 0.5, "acc error": 0.1, "f1 (strict)": 0.25}}
    assert rows("sft", found) == [{"arm": "sft", "task": "t", "metric": "acc", "value": 0.5, "error": 0.1}]


def test_no_result_is_an_error(tmp_path):
    with pytest.raises(WorkError, match="without a result"):
        read_results(tmp_path)


@pytest.mark.skipif(not INTERPRETER, reason="HASSE_LM_EVAL_PYTHON names no interpreter with lm_eval")
def test_the_harness_itself(tmp_path, tiny_model, tiny_tokenizer):
    tiny_model.save_pretrained(tmp_path / "model")
    tiny_tokenizer.save_pretrained(tmp_path / "model")
    (tmp_path / "tasks").mkdir()
    items = tmp_path / "items.json"
    items.write_text(json.dumps([{"question": "b c", "label": i % 2} for i in range(6)]))
    (tmp_path / "tasks" / "t.yaml").write_text(
        f"task: local\ndataset_path: json\ndataset_kwargs: {{data_files: {items}}}\ntest_split: train\n"
        'output_type: multiple_choice\ndoc_to_text: "{{question}}"\ndoc_to_choice: ["d", "e"]\ndoc_to_target: label\n'
        "metric_list:\n  - metric: acc\n"
    )
    settings = LmEvalSettings(
        tasks=["local"], include_path=str(tmp_path / "tasks"), python=INTERPRETER, batch_size="2", dtype="float32"
    )
    subprocess.run(command(settings, tmp_path / "model", tmp_path / "out"), check=True, capture_output=True)
    assert read_results(tmp_path / "out")["local"]["acc"] == 0.5
