"""The records of the pipeline. One frozen dataclass is one row of Parquet.

    Prompt -> Candidate -> Judgement -> PartialOrder | Feedback -> TrainingExample -> Checkpoint -> Evaluation

A field may have any type that `hasse.data.schema` turns into Arrow: str, int, float, bool, a nested record, tuples of
these, and `X | None`. A change of fields needs a new `schema_version` and a migration in `hasse.data.migrations`.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

NOT_IN_KEYS = "a change of fields makes a new version of the record, with a migration"

Status = Literal[
    "ok", "refused", "truncated", "unparsable", "filtered", "duplicate", "budget_stopped", "failed",
    "unjudged", "single", "unordered",
]  # fmt: skip
"""The last three belong to orders without a pair: no candidate has a judgement, there is only one candidate, or all
candidates are incomparable."""
STATUSES: tuple[str, ...] = get_args(Status)

Split = Literal["pretrain", "train", "validation", "test"]
SPLITS: tuple[str, ...] = get_args(Split)
HELD_OUT = ("validation", "test")


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One turn of a conversation."""

    role: str
    content: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """A question to a model, with everything known about the right answer.

    Prompt(prompt_id="9f2c...", text="premise: Ann is taller than Bob. hypothesis: Bob is taller than Ann.",
           label="contradiction", reference="Ann is taller, so Bob is not.\\nlabel: contradiction",
           source="entailment", cluster_id="9f2c...", split="train")
    """

    schema_version: ClassVar[int] = 3

    prompt_id: str
    text: str
    messages: tuple[Message, ...] | None = None
    instruction: str | None = None
    """What to do with the question. It is put before the first turn of the user, for models and for judges."""
    demonstrations: tuple[Message, ...] = ()
    """Example questions and answers, in turn, that a model reads before the question. Judges do not read them."""
    variants: tuple[str, ...] = ()
    """The same prompt with only one document of its context; there is one text for each document."""
    context: str | None = None
    reference: str | None = None
    """The expert's answer, if there is one."""
    drafts: tuple[str, ...] = ()
    """Other answers that came with the prompt."""
    label: str | None = None
    answers: tuple[str, ...] = ()
    """All gold short answers, in question answering."""
    group: str | None = None
    """Results are also reported for each group, e.g. for each position of the gold document."""
    source: str
    cluster_id: str
    """The prompt_id of the first member of the near-duplicate cluster. A cluster never spans two splits."""
    split: str
    status: Status = "ok"
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One answer to one prompt.

    Candidate(prompt_id="9f2c...", candidate_id="student-0", text="...", token_ids=(17, 4, 2),
              logprobs=(-0.1, -0.7, -0.0), logprob_sum=-0.8, logprob_mode="raw", finish_reason="stop", source="student")
    """

    schema_version: ClassVar[int] = 2

    prompt_id: str
    candidate_id: str
    """The id is `<group>-<number>` and is unique within the prompt."""
    text: str
    """The answer without any thinking before it. Judges, metrics and pages read this text."""
    reasoning: str | None = None
    """The thinking before the answer, without the tags around it; None if the model did not think aloud."""
    token_ids: tuple[int, ...] = ()
    """The sampled tokens, with the thinking, its tags, and the end token when finish_reason is "stop". Empty when the
    answer came as text. A student trains on these ids of its own candidates; where they hold thinking, it trains on
    the tokens of `text` instead, unless `examples.keep_reasoning` is on."""
    logprobs: tuple[float, ...] = ()
    """The log-prob of each token, in nats."""
    logprob_sum: float | None = None
    """The sum of `logprobs`, in nats."""
    logprob_mode: str | None = None
    """"raw": the model's own log-probs after the prompt. "template": its log-probs after the prompt in the group's
    template. "processed": log-probs after temperature and truncation. "reported": log-probs that an endpoint reported,
    without token_ids and without saying of which kind they are."""
    finish_reason: str | None = None
    """"stop" or "length"."""
    model_digest: str | None = None
    tokenizer_digest: str | None = None
    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    seed: int | None = None
    source: str
    """Who answered: human (an expert), student, teacher (the model that scores), the name of a further model,
    document (one document of the context alone), or flipped (a rewritten answer)."""
    status: Status = "ok"
    error: str | None = None

    @property
    def group(self) -> str:
        """The name of the sampling group: the candidate_id without its number."""
        return self.candidate_id.rpartition("-")[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class AspectScore:
    """A judge's score of one aspect."""

    name: str
    score: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Presentation:
    """The slot and the score of this candidate in one list of candidates that a teacher scored."""

    slot: int
    """Position in the list, from 1."""
    total: float | None = None
    """None when the reply was unusable, or when the teacher abstained from this candidate."""
    num_asks: int = 1
    """How many questions were asked for this reply: 2 when the first reply was unusable."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PairVerdict:
    """A teacher's verdict on two candidates, kept in the row of the candidate shown first."""

    other: str
    """The candidate_id of the candidate shown second."""
    verdict: str
    """win, lose, tie or abstain, for the candidate shown first; the reply's status when it states none of these."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeTotal:
    """The total that one of several judges gave a candidate, in that judge's own units."""

    judge: str
    """The judge's name in the recipe."""
    teacher: str
    total: float | None = None
    """None when the judge abstained or has no judgement; the status says which."""
    status: Status = "ok"


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """A teacher's judgement of one candidate.

    Judgement(prompt_id="9f2c...", candidate_id="student-0", teacher="openai", total=6.5,
              aspects=(AspectScore(name="clarity", score=6.5),), presentation_order=("student-0", "human-0"),
              presentations=(Presentation(slot=1, total=7.0), Presentation(slot=2, total=6.0)))
    """

    schema_version: ClassVar[int] = 4

    prompt_id: str
    candidate_id: str
    teacher: str
    """The kind of judge, which is the name of its file in stages/judge/teachers."""
    aspects: tuple[AspectScore, ...] = ()
    total: float | None = None
    """The score by which candidates are ordered. None with status ok means that the judge abstains."""
    label: str | None = None
    """The label that the answer states, if any."""
    correct: bool | None = None
    """Whether the answer agrees with the gold label or the gold answers; None when there are neither."""
    rationale: str | None = None
    """The reasons that the reply gives for the score."""
    reasoning: str | None = None
    """The judge's thinking before its replies about this prompt, the same for all its candidates; None if the judge did
    not think aloud. No score is read from it."""
    presentation_order: tuple[str, ...] = ()
    """The candidate_ids in the order in which the teacher first saw them."""
    presentations: tuple[Presentation, ...] = ()
    """One entry for each list in which the teacher saw the candidate. Where lists disagree, only `total` is final."""
    verdicts: tuple[PairVerdict, ...] = ()
    """The pairwise questions in which this candidate was shown first."""
    judges: tuple[JudgeTotal, ...] = ()
    """The totals of several judges, from which `total` was made."""
    status: Status = "ok"
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderedPair:
    """`above` is better than `below` by at least `margin`, in score units. The method's own margin is added to it."""

    above: str
    below: str
    margin: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PartialOrder:
    """A partial order over the candidates of one prompt, by levels or by explicit pairs.

    PartialOrder(prompt_id="9f2c...", strategy="lp", candidate_ids=("human-0", "student-0"), levels=(2.0, 1.0),
                 pairs=(OrderedPair(above="human-0", below="student-0"),), target="human-0")
    """

    schema_version: ClassVar[int] = 2

    prompt_id: str
    strategy: str
    candidate_ids: tuple[str, ...]
    levels: tuple[float | None, ...]
    """The level of each candidate: higher is better, equal levels are incomparable, None means abstention."""
    pairs: tuple[OrderedPair, ...]
    """All pairs of the order, also those that follow from others."""
    target: str | None = None
    """The candidate that supervised training imitates: one at the top, a human's first. None if none is good."""
    dropped: tuple[OrderedPair, ...] = ()
    """Pairs that were dropped because they closed a cycle."""
    status: Status = "ok"
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Feedback:
    """An annotator's comment, in words, on one candidate."""

    schema_version: ClassVar[int] = 1

    prompt_id: str
    candidate_id: str
    text: str
    verdict: str | None = None
    annotator: Literal["human", "ai", "rule"]
    annotator_id: str
    model: str | None = None
    prompt_version: str | None = None
    status: Status = "ok"
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """A candidate in tokens, for the trainer. `token_ids` end with EOS unless sampling hit its length limit."""

    candidate_id: str
    token_ids: tuple[int, ...]
    source: str
    level: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PairIndex:
    """An ordered pair by positions in `TrainingExample.completions`; `margin` is that of `OrderedPair`."""

    above: int
    below: int
    margin: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingExample:
    """One prompt with its K completions and their order, tokenised once for every method."""

    schema_version: ClassVar[int] = 1

    prompt_id: str
    cluster_id: str
    prompt_token_ids: tuple[int, ...]
    completions: tuple[Completion, ...]
    pairs: tuple[PairIndex, ...] = ()
    target: int | None = None
    """The index of the completion that supervised training imitates."""
    reference_logps: tuple[float, ...] | None = None
    """The summed log-prob of each completion under the frozen reference model, in nats."""
    status: Status = "ok"
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A model, by its digests, with its origin and its folder."""

    schema_version: ClassVar[int] = 2

    name: str
    method: str
    seed: int
    num_steps: int
    weights_digest: str
    tokenizer_digest: str
    template_digest: str
    base_weights_digest: str | None = None
    location: str | None = None
    """The folder of a model that is used where it lies. None means the folder `model/` of the artifact."""
    template_options: str | None = None
    """JSON of what the chat template is given beside the conversation: `kwargs` and `date`. None: nothing, and the
    default date."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CurvePoint:
    """One logged number of a training run."""

    schema_version: ClassVar[int] = 1

    step: int
    metric: str
    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """One answer of one model to one held-out prompt, graded."""

    schema_version: ClassVar[int] = 3

    prompt_id: str
    cluster_id: str
    split: str
    group: str | None = None
    decoding: str
    """"greedy" or "sampled"."""
    sample: int = 0
    text: str
    num_tokens: int
    """Tokens of the answer without its thinking."""
    finish_reason: str | None = None
    gold: str | None = None
    label_strict: str | None = None
    label_loose: str | None = None
    label_first: str | None = None
    correct_strict: bool | None
    """Whether the answer, read strictly, is right; None where the prompt has neither a gold label nor gold answers."""
    correct_loose: bool | None
    correct_first: bool | None = None
    score: float | None = None
    """The similarity, 0 to 1 by `task.score`, to the nearest gold answer; without gold answers, to the expert's."""
    reference_logprob: float | None = None
    """The summed log-prob of the expert's answer under this model, in nats. Only greedy rows have it."""
    reference_tokens: int | None = None
    pair_accuracy: float | None = None
    """The share of the prompt's held-out ordered pairs whose better answer has the higher log-prob per token. Only
    greedy rows have it."""
    pair_margin: float | None = None
    """The mean difference in log-prob per token between the better and the worse answer of these pairs, in nats."""
    status: Status = "ok"
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Duel:
    """A judge's comparison of the answers of two arms to one held-out prompt.

    The verdicts are win, lose or tie, for `arm`; None where the judge's reply was unusable or where it abstained. A
    judge that scores each answer alone gives the same verdict twice.
    """

    schema_version: ClassVar[int] = 1

    prompt_id: str
    cluster_id: str
    arm: str
    seed: int
    other: str
    other_seed: int
    first: str | None = None
    """The verdict when the answer of `arm` was shown first."""
    second: str | None = None
    """The verdict when it was shown second."""
    reasoning: str | None = None
    """The judge's thinking before its replies, if it thought aloud."""
    status: Status = "ok"
    error: str | None = None
