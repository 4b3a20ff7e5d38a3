"""How a student is trained; one file is one method.

An offline method module has
    class Settings(Config)                                   its section of the recipe
    def prepare(example, settings) -> TrainingExample | None the part of an example that it needs; None: of no use
    def loss(policy, batch, settings) -> (loss, metrics)     a pure function; micro-batch losses add up to the step's

and, where it needs them,
    MIN_CANDIDATES                                           the smallest K with which it makes sense
    EXAMPLES                                                 what it learns from, "order" (the default) or another kind
    HEAD                                                     "reward": a scalar head, `policy: SequenceRewards`
    def needs_reference(settings) -> bool                    whether examples carry the frozen student's log-probs
    def resolve(settings, examples) -> Settings              settings that depend on the examples, as numbers
    def step_sums(example) -> dict                           what the loss divides by, summed over a whole step

`loss` gets `policy: SequenceLogps` and `batch: CandidateBatch`; a metric is (sum, how many it is the sum of).
"""
