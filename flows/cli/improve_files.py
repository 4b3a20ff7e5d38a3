"""`hasse improve`: models by folder or by artifact, answers from a file."""

from pathlib import Path
from typing import Any

from hasse.data.errors import InputError
from hasse.data.template import check_placeholders
from hasse.flows.run.references import find_artifact
from hasse.pipeline.store import Store
from hasse.stages.models.checkpoints import model_folder
from hasse.stages.models.model_folders import locate
from hasse.stages.pit.improve_file import improve, read_answers, write_jsonl
from hasse.stages.train.methods.pit import TEMPLATE


def improve_file(
    store: Store,
    checkpoint: str,
    prompts: Path,
    out: Path,
    *,
    policy: str | None,
    reward: str | None,
    template: str | None,
    **options: Any,
) -> list[dict[str, Any]]:
    """Improve the file's answers and write them; gives the rows. Raises InputError, SourceError."""
    if options.get("threshold") is not None and reward is None:
        raise InputError("--threshold compares calibrated gaps, which need the gap reward model: give --reward")
    try:
        written = check_placeholders(template or _template(store, checkpoint), ("prompt", "reference"))
    except ValueError as error:
        raise InputError(f"--template: {error}") from error
    rows = improve(
        read_answers(prompts),
        improver=model_of(store, checkpoint),
        policy=model_of(store, policy) if policy else None,
        reward=model_of(store, reward) if reward else None,
        template=written,
        **options,
    )
    write_jsonl(out, rows)
    return rows


def model_of(store: Store, name: str) -> Path:
    """A folder or hub name, or else the model of an artifact."""
    return locate(name, revision=None) if Path(name).is_dir() else model_folder(find_artifact(store, name))


def _template(store: Store, checkpoint: str) -> str:
    """Give the template that the checkpoint was trained with, if the checkpoint is an artifact."""
    if Path(checkpoint).is_dir():
        return TEMPLATE
    artifact = find_artifact(store, checkpoint)
    if "template" in artifact.manifest.key["config"]:
        return artifact.manifest.key["config"]["template"]
    examples = store.resolve(artifact.manifest.inputs["examples"][0]).manifest.key["config"]
    if "template" not in examples:
        raise InputError(f"{artifact.ref} is no improver; give --template if it can improve answers all the same")
    return examples["template"]
