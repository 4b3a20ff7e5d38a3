"""Examples: orders, candidates and feedback become tokenised training examples.

`from_orders` makes the examples of the methods that learn from candidates, and `from_feedback` those of LaFFi.
`example` makes one example from token ids. `reference` adds the log-probs under the frozen student, for the methods
that need them.
"""
