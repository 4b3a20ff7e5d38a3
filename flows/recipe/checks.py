"""Sections of a recipe that contradict each other. Every check raises ValueError, which names the setting."""

from hasse.data.errors import RecipeError
from hasse.data.settings import registry
from hasse.flows.recipe.gold import check_gold
from hasse.flows.recipe.nightly_section import LATEST
from hasse.flows.recipe.sections import NAME, RESAMPLE, SOURCES, RecipeSections
from hasse.flows.recipe.train_section import has_gap_model, min_candidates
from hasse.stages.judge.audit_bounds import AuditSettings
from hasse.stages.judge.traits import is_audited, judges_of, members, needs_model, repeats
from hasse.stages.train.settings import examples_kind

TAKEN = ("student", "teacher", "prompts", "human", "document", "flipped")
"""Names of steps and of candidates' sources, so that no further model can have them."""


def check(recipe: RecipeSections) -> None:
    """Raises ValueError for the first contradiction between sections."""
    for one_check in (
        _check_num_candidates,
        _check_rounds,
        _check_pit_arms,
        _check_launch,
        _check_feedback,
        _check_labels,
        _check_audit,
        _check_models_asked,
        _check_model_names,
        _check_nightly,
        check_gold,
        _check_dataset_groups,
        _check_growth,
        _check_question,
        _check_baselines,
        _check_best_of,
        _check_duel,
        _check_benchmarks,
    ):
        one_check(recipe)


def _check_num_candidates(recipe: RecipeSections) -> None:
    """A method that ranks needs at least two candidates for a prompt."""
    for settings in recipe.every_round():
        for name, arm in settings.arms.items():
            needed = min_candidates(arm)
            if settings.generate.num_candidates() < needed:
                raise ValueError(
                    f"{settings.place}generate.groups give K = {settings.generate.num_candidates()} candidate a "
                    f"prompt, but arm {name!r} ({arm.method}) ranks at least {needed}; raise num_samples or add a group"
                )


def _check_rounds(recipe: RecipeSections) -> None:
    """A round starts from an arm before it, and its arms have names of their own."""
    for reserved in ("student", RESAMPLE, LATEST, *recipe.controls()):
        if reserved in recipe.arms():
            raise ValueError(f"an arm cannot be called {reserved!r}; the report uses this name for something else")
    known = ["student", *recipe.train.arms]
    for name, section in recipe.rounds.items():
        if section.start not in known:
            raise ValueError(f"rounds.{name}.start: {registry.unknown(section.start, known, kind='earlier arm')}")
        taken = set(section.arms) & set(known)
        if taken:
            raise ValueError(f"rounds.{name}.arms: the name {min(taken)!r} is taken by an earlier arm")
        for arm in section.arms:
            recipe.train.optimiser(arm, section.optimiser)
        known += section.arms
    for arm in recipe.train.overrides:
        if arm not in known:
            raise ValueError(f"train.overrides: {registry.unknown(arm, known, kind='arm')}")


def _check_pit_arms(recipe: RecipeSections) -> None:
    """A part of PIT is no arm by itself, and a PIT arm holds its own optimiser settings."""
    changed = [arm for section in recipe.rounds.values() if section.optimiser for arm in section.arms]
    for name, arm in recipe.arms().items():
        if examples_kind(arm) == "gap":
            raise ValueError(f"arm {name!r}: {arm.method} is a part of pit and cannot be an arm of its own")
        overridden = [key for key in recipe.train.overrides.get(name, {}) if key != "lora"]
        if arm.method == "pit" and (overridden or name in changed):
            raise ValueError(
                f"arm {name!r}: pit has optimisers of its own; set these in the arm, not by overrides or a round's "
                "optimiser"
            )


def _check_launch(recipe: RecipeSections) -> None:
    """The processes share the prompts of a step evenly, and FSDP does not shard a compiled model."""
    for settings in recipe.every_round():
        for arm in [name for name, method in settings.arms.items() if method.method != "pit"]:
            optimiser = recipe.train.optimiser(arm, settings.optimiser)
            try:
                recipe.launch.with_processes(optimiser.prompts_per_step)
            except RecipeError as error:
                raise ValueError(f"arm {arm!r}: {error}") from error
            if optimiser.compile and recipe.launch.fsdp is not None:
                raise ValueError(f"arm {arm!r}: train.compile and launch.fsdp do not go together; leave one out")


def _check_feedback(recipe: RecipeSections) -> None:
    for name, arm in recipe.arms().items():
        if examples_kind(arm) == "feedback" and recipe.feedback is None:
            raise ValueError(f"arm {name!r} ({arm.method}) learns from feedback, but the recipe has no `feedback`")


def _check_labels(recipe: RecipeSections) -> None:
    for judge in (judge for settings in recipe.every_round() for judge in judges_of(settings.judge).values()):
        if getattr(judge, "total", None) == "score" and recipe.task.labels:
            raise ValueError("judge.total: score compares with gold answers; a task with labels has none")


def _check_audit(recipe: RecipeSections) -> None:
    judges = [settings.judge for settings in recipe.every_round()]
    if recipe.audit != AuditSettings() and not any(map(is_audited, judges)):
        raise ValueError("audit: a rule is not audited; leave the section out, or have another teacher judge")
    if recipe.audit.repeats and not any(map(repeats, judges)):
        raise ValueError("audit.repeats asks a chat model again; this judge would say the same, so leave it out")
    between = sorted({"min_judges_tau", "min_judges_alike"} & set(recipe.audit.bounds()))
    if between and not any(map(members, judges)):
        raise ValueError(f"audit.{between[0]} compares judges; have `several` judge, or leave it out")


def _check_models_asked(recipe: RecipeSections) -> None:
    """Every model that a sampler or a judge asks is in the recipe."""
    known = ["student", "teacher", *recipe.models]
    for settings in recipe.every_round():
        asked = settings.generate.models()
        if recipe.teacher is None and ("teacher" in asked or needs_model(settings.judge)):
            raise ValueError("a sampler or the judge asks the teacher's model, but the recipe has no `teacher`")
        for model in sorted(asked - set(known)):
            raise ValueError(f"generate: {registry.unknown(model, known, kind='model')}")


def _check_model_names(recipe: RecipeSections) -> None:
    for name in recipe.models:
        if name in TAKEN or not NAME.fullmatch(name):
            raise ValueError(f"models: {name!r} is taken, or not lower case with dashes; give it another name")


def _check_nightly(recipe: RecipeSections) -> None:
    """Find what a night would otherwise find after its training."""
    night = recipe.nightly
    if night is None:
        return
    arm, seed = recipe.contender()
    if arm not in recipe.arms():
        raise ValueError(f"nightly.arm: {registry.unknown(arm, list(recipe.arms()), kind='arm')}")
    if recipe.arms()[arm].method == "pit" or (night.start == "latest" and recipe.improves()):
        raise ValueError(
            "nightly: pit improves another model's answers, so it is neither promoted nor starts from latest"
        )
    if seed not in recipe.train.seeds:
        raise ValueError(f"nightly.seed: {seed} is not one of train.seeds, {recipe.train.seeds}")
    metric = recipe.night_metric()
    if metric.startswith("sampled") and not recipe.evaluate.num_samples:
        raise ValueError(f"nightly.metric: {metric} needs evaluate.num_samples of 1 or more")
    if metric.endswith("score") and recipe.task.labels and recipe.has_gold():
        raise ValueError(f"nightly.metric: {metric} compares with gold answers; a task with labels has none")


def _check_dataset_groups(recipe: RecipeSections) -> None:
    """A group of the sampler `dataset` takes answers that the prompts have."""
    for settings in recipe.every_round():
        for group in (group for group in settings.generate.groups if group.sampler == "dataset"):
            where = f"{settings.place}generate.groups: the group {group.name!r} takes the {group.field} of each prompt"
            if not _may_have(recipe, group.field):
                raise ValueError(
                    f"{where}, but source.fields names no column `{group.field}`; "
                    f"map source.fields.{group.field}, or leave the group out"
                )
            only_train = set(settings.generate.splits) <= {"train"}
            if group.field == "reference" and recipe.prompts.num_expert == 0 and only_train:
                raise ValueError(
                    f"{where}, but prompts.num_expert: 0 keeps none; raise prompts.num_expert, or leave the group out"
                )


def _may_have(recipe: RecipeSections, field: str) -> bool:
    """Whether the source's mapping can give prompts this field. The last turn of a conversation is a reference."""
    fields = recipe.table_fields()
    from_messages = field == "reference" and fields is not None and fields.messages is not None
    return fields is None or from_messages or getattr(fields, field) is not None


def _check_growth(recipe: RecipeSections) -> None:
    """A new row of a nightly recipe's source must change neither the student nor an old prompt."""
    if recipe.nightly is None:
        return
    if registry.load(SOURCES, recipe.source.kind, kind="source").MIXES_ROWS:
        raise ValueError(f"nightly: in the source {recipe.source.kind} a new row changes old prompts")
    if recipe.student.needs_lessons and recipe.prompts.fractions.pretrain:
        raise ValueError(
            "nightly: new rows would join the split pretrain and so change the student; set "
            "prompts.fractions.pretrain to 0 and mark its rows by source.fields.split, or give student.model without "
            "warmup"
        )


def _check_question(recipe: RecipeSections) -> None:
    """Demonstrations that are drawn would change as the source grows, and with them every prompt."""
    if recipe.nightly is not None and any(question.num_drawn for question in recipe.questions()):
        raise ValueError("nightly: new rows may change the demonstrations that are drawn; give them as a list")


def _check_baselines(recipe: RecipeSections) -> None:
    known = ["student", *recipe.arms(), *recipe.controls()]
    for baseline in recipe.report.baselines:
        if baseline not in known:
            raise ValueError(f"report.baselines: {registry.unknown(baseline, known, kind='arm')}")


def _check_best_of(recipe: RecipeSections) -> None:
    """The best answer is chosen by PIT's reward model, which compares answers with each other."""
    if recipe.evaluate.best_of and not any(has_gap_model(arm) for arm in recipe.arms().values()):
        raise ValueError(
            "evaluate.best_of: the reward model of a pit arm chooses, but no arm is pit with reward: gap and with RL "
            "or a threshold; leave it out"
        )


def _check_benchmarks(recipe: RecipeSections) -> None:
    """Steps and results are named after the benchmark, so that each can be taken once."""
    names = [settings.benchmark for settings in recipe.benchmarks]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ValueError(
            f"benchmarks: {min(twice)!r} stands twice, and the results would have one name; put its files into one "
            "folder, or run a recipe for each"
        )


def _check_duel(recipe: RecipeSections) -> None:
    """The arms of a duel exist, and have the answers that are compared."""
    if recipe.duel is None:
        return
    known = ["student", *recipe.arms(), *recipe.controls()]
    for arm in recipe.duel.against:
        if arm not in known:
            raise ValueError(f"duel.against: {registry.unknown(arm, known, kind='arm')}")
    if len(known) == 1:
        raise ValueError("duel: there is no arm beside the student; leave the section out")
    if recipe.duel.decoding == "sampled" and not recipe.evaluate.num_samples:
        raise ValueError("duel.decoding: sampled compares sampled answers; set evaluate.num_samples to 1 or more")
    if members(recipe.duel.judge):
        raise ValueError("duel.judge: several judges are for the stage judge; let one of them decide duels")
    if getattr(recipe.duel.judge, "orders", 2) == 1:
        raise ValueError("duel.judge.orders: 1 would let the order of presentation decide duels; set orders: 2")
    if needs_model(recipe.duel.judge) and recipe.teacher is None:
        raise ValueError("duel.judge asks the teacher's model, but the recipe has no `teacher`")
