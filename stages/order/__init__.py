"""Order: a partial order over the candidates of every prompt.

`partial_order` is the data structure, `strategies/` holds the ways to make an order from labels, log-probs, scores and
verdicts, one file each, `majority` turns pairwise verdicts of several judges into one order, and `export` writes orders
as data sets for other trainers.
"""

from hasse.stages.order.stage import STAGE, STRATEGIES, OrderSettings, Strategy, external

__all__ = ["STAGE", "STRATEGIES", "OrderSettings", "Strategy", "external"]
