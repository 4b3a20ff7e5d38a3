"""Stage student: the model to be improved, which the user names or which is trained here on a small task."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from pydantic import Field, JsonValue, field_validator, model_validator

from hasse.data.records import CurvePoint
from hasse.data.settings import Config, unkeyed
from hasse.pipeline.fingerprint import model_digests
from hasse.pipeline.stage import Job, Stage
from hasse.stages.models.adapters import adapter_digests, check_adapter
from hasse.stages.models.chat_template import DATE, TemplateOptions, with_options
from hasse.stages.models.checkpoints import identity, publish_model
from hasse.stages.models.model_folders import check_model_folder, is_adapter, locate
from hasse.stages.student.scratch import ScratchSettings, train_from_scratch
from hasse.stages.student.warmup import WarmupSettings, warm_up


class StudentSettings(Config):
    """A model that exists (`model`), or one that is trained from scratch (`scratch`): exactly one of the two."""

    model: str | None = unkeyed(
        None, description="A hub name or a local folder of a model or of a LoRA adapter, digested by its content."
    )
    revision: str | None = unkeyed(None, description="Branch, tag or commit on the hub.")
    scratch: ScratchSettings | None = None
    chat_template_kwargs: dict[str, JsonValue] = Field(
        default={},
        description="Values for the model's chat template wherever the model is asked, trained or evaluated, for "
        "example {enable_thinking: false}. A name that the template does not read is an error.",
    )
    date: str = Field(
        default=DATE.date().isoformat(),
        description="The date (YYYY-MM-DD) that a chat template prints as today's, so that results do not change "
        "from day to day.",
    )
    warmup: WarmupSettings | None = Field(
        default=None,
        description="Fine-tune `model` on expert answers before anything else. Candidates, training and evaluation "
        "then start from the warm model.",
    )

    @model_validator(mode="after")
    def _one(self) -> StudentSettings:
        if (self.model is None) == (self.scratch is None):
            raise ValueError("give either model (a hub name or folder) or scratch (a small model trained here)")
        if self.scratch and self.chat_template_kwargs:
            raise ValueError("chat_template_kwargs: a model from scratch has a chat template that reads none")
        if self.warmup and self.scratch:
            raise ValueError("warmup: a model from scratch is trained on the split pretrain already; leave it out")
        return self

    @field_validator("date")
    @classmethod
    def _is_a_date(cls, value: str) -> str:
        return datetime.fromisoformat(value).date().isoformat()

    @property
    def template_options(self) -> TemplateOptions:
        """What the chat template is given beside the conversation."""
        return TemplateOptions(kwargs=self.chat_template_kwargs, date=datetime.fromisoformat(self.date))

    @property
    def needs_lessons(self) -> bool:
        """Whether the model is trained on the answers of the split `pretrain`."""
        return self.scratch is not None or self.warmup is not None


def external(settings: StudentSettings, *, is_trained: bool = True) -> dict[str, str]:
    """Digests of a model that lies outside the store; for an adapter, also those of its base.

    Raises InputError for a folder that cannot be used, before the run begins. `is_trained`: the model will be trained,
    so weights that can only be sampled from, such as quantised weights, are refused.
    """
    if settings.model is None:
        return {}
    folder = locate(settings.model, revision=settings.revision)
    if is_adapter(folder):
        check_adapter(folder)
        return adapter_digests(folder)
    check_model_folder(folder, is_trained=is_trained)
    return model_digests(folder)


def run(job: Job) -> None:
    settings: StudentSettings = job.settings
    if settings.scratch is not None:
        train_from_scratch(job, settings.scratch)
        return
    folder = locate(settings.model or "", revision=settings.revision).resolve()
    if settings.warmup is not None:
        warm_up(job, settings.warmup, folder, settings.template_options)
    else:
        publish_given(job, folder, settings.template_options)


def publish_given(job: Job, folder: Path, options: TemplateOptions) -> None:
    """Publish a model or an adapter where it lies. Raises InputError for an unusable model."""
    from hasse.stages.models.load import check_vocabulary, load_tokenizer

    check_vocabulary(folder)
    with_options(load_tokenizer(folder), options)
    publish_model(job, method="given", seed=0, num_steps=0, location=folder, template_options=options.as_text())
    job.write([], CurvePoint)


STAGE = Stage(
    name="student",
    run=run,
    in_child=True,
    identity=identity,
)
