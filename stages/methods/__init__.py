"""How a student is trained; one file is one method.

An offline method module has
    class Settings(Config)                                   its section of the recipe
    def prepare(example, settings) -> TrainingExample | None the part of an example that it needs; None: of no use
    def loss(policy, batch, settings) -> (loss, metrics)     a pure function; micro-batch losses add up to the step's

A method that ranks also has MIN_CANDIDATES, the smallest K with which it makes sense.
`loss` gets `policy: SequenceLogps` and `batch: CandidateBatch`; a metric is (sum, how many it is the sum of).
"""
