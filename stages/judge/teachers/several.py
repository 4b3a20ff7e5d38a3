"""Teacher `several`: several judges with weights, whose totals are made comparable within each prompt.

Judgements are cached per judge. Changing a weight, the way to combine or the list of judges re-uses all existing
judgements. A candidate that fewer than `min_judges` judges scored has no total; if one of them failed, the candidate
has the status of that judge.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Union

from pydantic import Field, create_model, model_validator

from hasse.data.records import Candidate, Judgement, JudgeTotal, Prompt
from hasse.data.settings import Config, registry
from hasse.stages.grading import TaskSettings, stated
from hasse.stages.judge.scales import SCALES, weighted_mean

PLUG = "TeacherPanel"

TEACHERS = "hasse.stages.judge.teachers"


def _weighted(name: str) -> type[Config]:
    """The settings of a teacher, with a weight."""
    settings: Any = registry.settings_of(TEACHERS, name)
    weight = Field(
        default=1.0, gt=0, allow_inf_nan=False, description="Weight of the judge in the total, a weighted mean."
    )
    made: Any = create_model(
        f"{name.title().replace('_', '')}Judge", __base__=settings, __module__=__name__, weight=(float, weight)
    )
    return made


JUDGES = {name: _weighted(name) for name in registry.names(TEACHERS) if name != "several"}
globals().update((judge.__name__, judge) for judge in JUDGES.values())  # a child process finds them by name
Judge = Annotated[Union[tuple(JUDGES.values())], Field(discriminator="teacher")]  # noqa: UP007  made at run time


class Settings(Config):
    teacher: Literal["several"] = "several"
    judges: dict[Annotated[str, Field(pattern="^[a-z][a-z0-9_]*$")], Judge] = Field(  # type: ignore[valid-type]
        min_length=2, description="Name of a judge -> its teacher's settings, and `weight`."
    )
    combine: Literal["ranks", "z_scores", "totals"] = Field(
        default="ranks",
        description="What is averaged. ranks: the share of the prompt's other answers that an answer beats, with a tie "
        "as half; z_scores: standard deviations above the prompt's mean; totals: as they are, for judges on one scale.",
    )
    min_judges: int | None = Field(
        default=None,
        ge=1,
        description="Judges that must have scored an answer for it to have a total; left out: all of them.",
    )

    @model_validator(mode="after")
    def _enough(self) -> "Settings":
        if self.min_judges is not None and self.min_judges > len(self.judges):
            raise ValueError(f"min_judges is {self.min_judges}, but there are {len(self.judges)} judges")
        return self


def members(settings: Settings) -> dict[str, Config]:
    """Name -> settings of the judge as if it judged alone, which are part of its keys."""
    found: dict[str, Config] = {}
    for name, judge in settings.judges.items():
        plain: type[Config] = type(judge).__base__  # type: ignore[assignment]  what `_weighted` extended
        found[name] = plain.model_validate({key: getattr(judge, key) for key in plain.model_fields})
    return found


def combine(
    prompt: Prompt,
    candidates: Sequence[Candidate],
    judgements: Mapping[str, Sequence[Judgement]],
    settings: Settings,
    task: TaskSettings,
) -> list[Judgement]:
    """One judgement for each candidate. judgements: judge -> its judgements, in the order of the candidates."""
    scale = SCALES[settings.combine]
    shares = {
        name: scale({j.candidate_id: j.total for j in judged if j.status == "ok" and j.total is not None})
        for name, judged in judgements.items()
    }
    return [
        _combined(prompt, candidate, {name: judged[i] for name, judged in judgements.items()}, shares, settings, task)
        for i, candidate in enumerate(candidates)
    ]


def _combined(
    prompt: Prompt,
    candidate: Candidate,
    judgements: Mapping[str, Judgement],
    shares: Mapping[str, Mapping[str, float]],
    settings: Settings,
    task: TaskSettings,
) -> Judgement:
    key = candidate.candidate_id
    scored = {name: totals[key] for name, totals in shares.items() if key in totals}
    weights = {name: judge.weight for name, judge in settings.judges.items()}
    enough = len(scored) >= (settings.min_judges or len(judgements))
    failed = None if enough else next(((name, j) for name, j in judgements.items() if j.status != "ok"), None)
    label, correct = stated(candidate.text, prompt, task)
    return Judgement(
        prompt_id=prompt.prompt_id,
        candidate_id=key,
        teacher="several",
        total=weighted_mean(scored, weights) if enough else None,
        label=label,
        correct=correct,
        rationale="\n".join(f"{name}: {j.rationale}" for name, j in judgements.items() if j.rationale) or None,
        reasoning="\n\n".join(f"{name}: {j.reasoning}" for name, j in judgements.items() if j.reasoning) or None,
        judges=tuple(_share(name, j) for name, j in judgements.items()),
        status=failed[1].status if failed else "ok",
        error=_why(failed) if failed else None,
    )


def _share(name: str, judgement: Judgement) -> JudgeTotal:
    return JudgeTotal(judge=name, teacher=judgement.teacher, total=judgement.total, status=judgement.status)


def _why(failed: tuple[str, Any]) -> str:
    name, judgement = failed
    return f"judge {name}: {judgement.error or judgement.status}"
