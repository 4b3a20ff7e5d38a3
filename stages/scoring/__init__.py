"""Scoring: log-probs and rewards of completions under a model, without padding.

`batch` holds the tensors that a loss sees. `rows` packs many completions into one row, and `branch_attention` keeps
them apart there. `token_logps` computes log-probs without holding all logits. `score` runs the model.
"""
