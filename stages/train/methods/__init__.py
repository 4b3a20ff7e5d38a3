"""The methods by which a student is trained; one file is one method.

A method module has
    class Settings(Config)                                   its section of the recipe
    def prepare(example, settings) -> TrainingExample | None the part of an example that it needs; None for no use
    def loss(policy, batch, settings) -> (loss, metrics)     a pure function; micro-batch losses add up to the step's

and, where it needs them,
    MIN_CANDIDATES                                           the smallest number of candidates with which it makes sense
    EXAMPLES                                                 the kind of its examples: "order" (the default) or another
    HEAD                                                     "reward" for a scalar head and `policy: SequenceRewards`
    def needs_reference(settings) -> bool                    whether examples carry the frozen student's log-probs
    def resolve(settings, examples) -> Settings              the settings with numbers that depend on the examples
    def step_sums(example) -> dict                           what the loss divides by, summed over a whole step

`loss` gets `policy: SequenceLogps` (log-probs in nats: `sum_N` per completion, `mean_N` per token, `logp_T` of each
token) and `batch: CandidateBatch` (`pairs_P2`, `margin_P`, `target_B`, `prompt_N`, `reference_N`). The loss is a
scalar; dividing by the totals of `batch.step` makes it the batch's share of the step's mean. A metric is (sum, number
of things summed). `hasse.stages.train.losses` has the same losses on plain tensors.
"""
