"""Order: a partial order over the candidates of every prompt.

An order can be made and used without a run:

    from hasse.stages.order import PartialOrder, from_levels, from_pairs, hasse_edges, order_agreement

    by_ann = from_levels("p1", {"x": 3, "y": 2, "z": 2})            # x above y and z, which are incomparable
    by_bob = from_pairs("p1", ["x", "y", "z"], [("x", "y"), ("y", "z")])    # x above y above z
    hasse_edges(by_bob)                                             # [("x", "y"), ("y", "z")]
    order_agreement(by_ann, by_bob).num_same                        # 2: x above y, and x above z

`partial_order` makes orders, `order_agreement` compares them, `majority` turns the verdicts of several judges on pairs
into the edges of one order, and `export` writes orders as data sets for other trainers. `strategies/` holds the ways in
which the stage makes an order from labels, log-probs, scores and verdicts, one file each.
"""

from hasse.data.records import OrderedPair, PartialOrder
from hasse.stages.order.order_agreement import OrderAgreement, order_agreement
from hasse.stages.order.partial_order import from_levels, from_pairs, hasse_edges
from hasse.stages.order.stage import STAGE, STRATEGIES, OrderSettings, Strategy, external

__all__ = [
    "STAGE",
    "STRATEGIES",
    "OrderAgreement",
    "OrderSettings",
    "OrderedPair",
    "PartialOrder",
    "Strategy",
    "external",
    "from_levels",
    "from_pairs",
    "hasse_edges",
    "order_agreement",
]
