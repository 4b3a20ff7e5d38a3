"""A checkpoint of a store as a model and tokenizer of transformers, with the checks of every stage that loads one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from hasse.data.errors import InputError
from hasse.data.records import Checkpoint
from hasse.flows.library.recorded import RecordedStep
from hasse.flows.library.store_reader import StoreReader, open_store
from hasse.pipeline.store import Artifact, table_name
from hasse.stages.models.checkpoints import load_tokenizer_of, model_folder

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    class CausalModel(PreTrainedModel):
        """A causal language model as type checkers see it: transformers types `generate` for its own checker alone."""

        def generate(self, *arguments: Any, **options: Any) -> Any: ...


def load_model(
    checkpoint: RecordedStep | Artifact | str | Path,
    *,
    store: str | Path | StoreReader = "store",
    beside: PreTrainedModel | None = None,
) -> tuple[CausalModel, PreTrainedTokenizerBase]:
    """The model, in evaluation mode on this machine's device, and the tokenizer.

    checkpoint: a step of `student` or `train`, its artifact, its name or reference in `store`, or as a Path the folder
    of a model. beside: a model that is loaded already and is not trained; where both stand on the same base, as the
    adapters of two arms do, its weights are held once. Weights are bfloat16 on CUDA and float32 elsewhere. A tokenizer
    without a padding token gets one.
    Neither pickles nor code in the folder are loaded, and files are checked against their digests in the store.
    Raises InputError for an artifact without a model, and for a folder whose model or tokenizer cannot be used.
    """
    from hasse.stages.models import load

    if isinstance(checkpoint, Path):
        return cast("CausalModel", load.load_model(checkpoint, beside=beside)), load.load_tokenizer(checkpoint)
    artifact = _artifact(checkpoint, store)
    return cast("CausalModel", load.load_model(model_folder(artifact), beside=beside)), load_tokenizer_of(artifact)


def _artifact(checkpoint: RecordedStep | Artifact | str, store: str | Path | StoreReader) -> Artifact:
    if isinstance(checkpoint, str):
        checkpoint = (store if isinstance(store, StoreReader) else open_store(store)).artifact(checkpoint)
    artifact = checkpoint.artifact if isinstance(checkpoint, RecordedStep) else checkpoint
    if f"{table_name(Checkpoint)}.parquet" not in artifact.manifest.files:
        raise InputError(f"{artifact.ref} holds no model; give a step of `student` or `train`")
    return artifact
