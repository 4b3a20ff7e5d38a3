"""Scoring: log-probs and rewards of completions under a model, without padding.

`batch` is what a loss sees, `rows` lays many completions out in one row, `branch_attention` keeps them apart, and
`token_logps` computes log-probs without holding all logits.
"""
