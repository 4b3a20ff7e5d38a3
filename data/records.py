"""The nouns: one frozen dataclass is one row of Parquet.

    Prompt -> Candidate -> Judgement -> PartialOrder | Feedback -> TrainingExample -> Checkpoint -> Evaluation

Field types are what `hasse.data.schema` can turn into Arrow: str, int, float, bool, a nested record, tuples of these,
and `X | None`. A change of fields needs a new `schema_version` and a migration in `hasse.data.schema`.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

NOT_IN_KEYS = "another field is another version of the record, with a migration"

Status = Literal[
    "ok", "refused", "truncated", "unparsable", "filtered", "duplicate", "budget_stopped", "failed",
    "unjudged", "single", "unordered",
]  # fmt: skip
"""The last three are of orders without a pair: no candidate has a judgement, there is but one candidate, or those that
there are stay incomparable."""
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
    """What is asked, and what is known about the right answer.

    Prompt(prompt_id="9f2c...", text="premise: Ann is taller than Bob. hypothesis: Bob is taller than Ann.",
           label="contradiction", reference="Ann is taller, so Bob is not.\\nlabel: contradiction",
           source="entailment", cluster_id="9f2c...", split="train")
    """

    schema_version: ClassVar[int] = 2

    prompt_id: str
    text: str
    messages: tuple[Message, ...] | None = None
    variants: tuple[str, ...] = ()
    """The same prompt with one document of its context alone, one text a document."""
    context: str | None = None
    reference: str | None = None
    """The expert's answer, where there is one."""
    drafts: tuple[str, ...] = ()
    """Other answers that came with the prompt."""
    label: str | None = None
    answers: tuple[str, ...] = ()
    """Every gold short answer (question answering)."""
    group: str | None = None
    """What results are also reported by, e.g. the gold document's position."""
    source: str
    cluster_id: str
    """prompt_id of the first member of this prompt's near-duplicate cluster; a cluster never spans two splits."""
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
    """Unique within its prompt: `<group>-<number>`."""
    text: str
    """The answer alone, without any thinking before it: what is read, judged and shown."""
    reasoning: str | None = None
    """What the model thought before it answered, without the tags around it; None where it did not think aloud."""
    token_ids: tuple[int, ...] = ()
    """As sampled, thinking and its tags included, and the end token when finish_reason is "stop"; empty when the answer
    came as text. A student learns from its own candidates by these ids, so it also learns to think as it did."""
    logprobs: tuple[float, ...] = ()
    """One a token, nats."""
    logprob_sum: float | None = None
    """Nats, over `logprobs`."""
    logprob_mode: str | None = None
    """"raw": of the model itself, after the prompt; "template": after the prompt in its group's template;

    "processed": after temperature and truncation; "reported": an endpoint's, without token_ids, and of which kind it
    does not say.
    """
    finish_reason: str | None = None
    """"stop" or "length"."""
    model_digest: str | None = None
    tokenizer_digest: str | None = None
    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    seed: int | None = None
    source: str
    """human, student, teacher, document, flipped, or the name of a model."""
    status: Status = "ok"
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AspectScore:
    """A judge's score of one aspect."""

    name: str
    score: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Presentation:
    """One list of a prompt's candidates that a teacher scored: where this candidate stood, and what it got."""

    slot: int
    """From 1."""
    total: float | None = None
    """None when the reply was unusable, or abstained from this candidate."""
    num_asks: int = 1
    """Questions until this reply: 2 when the first reply was unusable."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PairVerdict:
    """What a teacher said of two candidates, in the row of the one shown first."""

    other: str
    """candidate_id of the one shown second."""
    verdict: str
    """win, lose, tie or abstain, for the one shown first; the reply's status when it states none of these."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeTotal:
    """What one of several judges gave a candidate, in units of its own."""

    judge: str
    """Its name in the recipe."""
    teacher: str
    total: float | None = None
    """None when it abstained or has no judgement; the status tells which."""
    status: Status = "ok"


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What one teacher says of one candidate.

    Judgement(prompt_id="9f2c...", candidate_id="student-0", teacher="openai", total=6.5,
              aspects=(AspectScore(name="clarity", score=6.5),), presentation_order=("student-0", "human-0"),
              presentations=(Presentation(slot=1, total=7.0), Presentation(slot=2, total=6.0)))
    """

    schema_version: ClassVar[int] = 3

    prompt_id: str
    candidate_id: str
    teacher: str
    """The kind of judge: the name of its file in stages/judge/teachers."""
    aspects: tuple[AspectScore, ...] = ()
    total: float | None = None
    """The score that orders; None with status ok: the judge abstains."""
    label: str | None = None
    """The label found in the answer; None when it states none."""
    correct: bool | None = None
    """Whether the answer agrees with the gold label or answers; None when there is no gold."""
    rationale: str | None = None
    presentation_order: tuple[str, ...] = ()
    """candidate_ids in the order in which the teacher saw them first."""
    presentations: tuple[Presentation, ...] = ()
    """One a list in which the teacher saw it; where lists disagree, `total` alone says what was made of them."""
    verdicts: tuple[PairVerdict, ...] = ()
    """Pairwise questions in which it was shown first."""
    judges: tuple[JudgeTotal, ...] = ()
    """What each of several judges gave; `total` is what was made of it."""
    status: Status = "ok"
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderedPair:
    """`above` is better than `below` by at least `margin` (score units, added to the method's own margin)."""

    above: str
    below: str
    margin: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PartialOrder:
    """Which candidates of one prompt are better than which: levels, or explicit pairs.

    PartialOrder(prompt_id="9f2c...", strategy="lp", candidate_ids=("human-0", "student-0"), levels=(2.0, 1.0),
                 pairs=(OrderedPair(above="human-0", below="student-0"),), target="human-0")
    """

    schema_version: ClassVar[int] = 2

    prompt_id: str
    strategy: str
    candidate_ids: tuple[str, ...]
    levels: tuple[float | None, ...]
    """One a candidate, higher is better, equal levels are incomparable; None: the strategy abstains."""
    pairs: tuple[OrderedPair, ...]
    """Every pair of the order."""
    target: str | None = None
    """The candidate that supervised training imitates: at the top, the human first among ties; None if none is good."""
    dropped: tuple[OrderedPair, ...] = ()
    """Pairs that were given up because they closed a cycle."""
    status: Status = "ok"
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Feedback:
    """What an annotator says, in words, of one candidate."""

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
    """A candidate as the trainer needs it; `token_ids` end with EOS unless sampling hit its length limit."""

    candidate_id: str
    token_ids: tuple[int, ...]
    source: str
    level: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PairIndex:
    """Positions in `TrainingExample.completions`; `margin` as in OrderedPair."""

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
    """Index of the completion that supervised training imitates."""
    reference_logps: tuple[float, ...] | None = None
    """Summed log-prob of each completion under the frozen reference model, nats."""
    status: Status = "ok"
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A model: its digests, where it comes from, and where its folder is."""

    schema_version: ClassVar[int] = 1

    name: str
    method: str
    seed: int
    num_steps: int
    weights_digest: str
    tokenizer_digest: str
    template_digest: str
    base_weights_digest: str | None = None
    location: str | None = None
    """The folder of a model that is used where it lies; None: the folder `model/` of the artifact itself."""


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
    finish_reason: str | None = None
    gold: str | None = None
    label_strict: str | None = None
    label_loose: str | None = None
    label_first: str | None = None
    correct_strict: bool | None
    """By this reading of the answer; None where the prompt has neither a gold label nor gold answers."""
    correct_loose: bool | None
    correct_first: bool | None = None
    score: float | None = None
    """How near the answer is to the nearest gold one, or where there is none to the expert's, 0 to 1; by
    `task.score`."""
    reference_logprob: float | None = None
    """Summed log-prob of the expert's answer under this model, nats; in the greedy row of a prompt that has one."""
    reference_tokens: int | None = None
    pair_accuracy: float | None = None
    """Share of the prompt's held-out ordered pairs whose better answer the model finds likelier, a token; in the
    greedy row of a prompt that has such pairs."""
    pair_margin: float | None = None
    """Mean lead of the better answer in these pairs, nats a token."""
    status: Status = "ok"
    error: str | None = None
