"""The recipe: one model for the YAML file, for `--set`, and for a form."""

from importlib.resources import files
from pathlib import Path
from typing import Any

from pydantic import Field, model_validator

from data import registry
from data.config import Config
from data.errors import RecipeError
from pipeline.recipe import apply_settings, read_yaml, validate
from stages.evaluate import EvaluateSection
from stages.examples import ExamplesSettings
from stages.generate import GenerateSettings
from stages.grading import TaskSettings
from stages.judge import Teacher
from stages.optimiser import OptimiserSettings
from stages.order import Strategy
from stages.prompts import PromptsSection
from stages.report import ReportSettings
from stages.student import StudentSettings
from stages.train import METHODS, LoraSettings, Method

SOURCES = "data.sources"
Source = registry.settings_union(SOURCES, "kind")


class TrainSection(OptimiserSettings):
    """How every arm is trained: the same items, steps and seeds."""

    arms: dict[str, Method] = Field(  # type: ignore[valid-type]
        default_factory=dict, description="Name of an arm -> its method. Each is trained once a seed."
    )
    overrides: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="Name of an arm -> optimiser settings of its own."
    )
    seeds: list[int] = Field(default=[0], min_length=1, description="One training run an arm and seed.")
    lora: LoraSettings | None = Field(default=None, description="Train an adapter instead of all weights.")

    @model_validator(mode="after")
    def _overrides_fit(self) -> "TrainSection":
        for arm in self.overrides:
            if arm not in self.arms:
                raise ValueError(registry.unknown(arm, list(self.arms), kind="arm"))
            self.optimiser(arm)
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds {self.seeds} are not all different")
        return self

    def optimiser(self, arm: str) -> OptimiserSettings:
        """The settings of one arm."""
        shared = {name: getattr(self, name) for name in OptimiserSettings.model_fields}
        return OptimiserSettings.model_validate({**shared, **self.overrides.get(arm, {})})


class Recipe(Config):
    """Prompts and a student in, a better student and a report out."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$", description="Lower case, with dashes.")
    description: str = Field(default="", description="One sentence: what this run asks.")
    source: Source = Field(description="Where prompts come from.")  # type: ignore[valid-type]
    task: TaskSettings = TaskSettings()
    prompts: PromptsSection = PromptsSection()
    student: StudentSettings
    generate: GenerateSettings
    judge: Teacher  # type: ignore[valid-type]
    order: Strategy  # type: ignore[valid-type]
    examples: ExamplesSettings = ExamplesSettings()
    train: TrainSection = TrainSection()
    evaluate: EvaluateSection = EvaluateSection()
    report: ReportSettings = ReportSettings()

    @model_validator(mode="after")
    def _enough_candidates(self) -> "Recipe":
        """A method that ranks needs at least two candidates."""
        for name, arm in self.train.arms.items():
            needed = getattr(registry.load(METHODS, arm.method, kind="method"), "MIN_CANDIDATES", 1)
            if self.generate.num_candidates() < needed:
                raise ValueError(
                    f"generate.groups give K = {self.generate.num_candidates()} candidate a prompt, "
                    f"but arm {name!r} ({arm.method}) ranks at least {needed}; raise num_samples or add a group"
                )
        return self

    @model_validator(mode="after")
    def _baselines_exist(self) -> "Recipe":
        known = ["student", *self.train.arms]
        for baseline in self.report.baselines:
            if baseline not in known:
                raise ValueError(f"report.baselines: {registry.unknown(baseline, known, kind='arm')}")
        return self


def load_recipe(name: str, assignments: list[str]) -> Recipe:
    """A shipped recipe by name, or a YAML file by path, with every `--set` applied. Raises RecipeError."""
    return validate(Recipe, apply_settings(read_yaml(recipe_path(name)), assignments), where=f"recipe {name}")


def recipe_path(name: str) -> Path:
    path = shipped_recipes().get(name) or Path(name)
    if path.suffix not in (".yaml", ".yml"):
        raise RecipeError(registry.unknown(name, sorted(shipped_recipes()), kind="recipe"))
    return path


def shipped_recipes() -> dict[str, Path]:
    """Name -> file."""
    folder = Path(str(files("flows"))) / "recipes"
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}
