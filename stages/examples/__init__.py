"""Examples: orders, candidates and feedback become tokenised training examples.

`from_orders` serves the methods that learn from candidates, `from_feedback` serves LaFFi, and `reference` adds the
log-probs of the frozen student for the methods that need them.
"""
