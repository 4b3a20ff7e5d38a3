"""Reads the reply to a list that ranks the candidates instead of scoring them."""

from hasse.stages.chat.json_replies import Schema, json_object, object_schema
from hasse.stages.judge.list_questions import CandidateScore, check_tags, tag
from hasse.stages.judge.scales import standardised_ranks


def ranking_schema(num_candidates: int) -> Schema:
    """The schema of the reply that `read_ranking` reads; no schema can demand that each tag occurs exactly once."""
    tags = {"type": "array", "items": {"type": "string", "enum": [tag(i) for i in range(num_candidates)]}}
    tags["maxItems"] = num_candidates
    ranking = {"type": "array", "items": tags, "maxItems": num_candidates}
    return object_schema({"rationale": {"type": "string"}, "ranking": ranking, "abstained": tags})


def read_ranking(text: str, *, num_candidates: int, scale: tuple[float, float]) -> list[CandidateScore]:
    """The score of each candidate, in the order shown, from {"ranking": [["B"], ["A", "C"]], "abstained": ["D"]}.

    The ranking runs from best to worst, with tied candidates in a list; a candidate without ties may stand alone. The
    total is the share of the other candidates that a candidate beats, with a tie as half, mapped to the scale. Raises
    ValueError that says what is wrong with the reply.
    """
    reply = json_object(text, "ranking")
    places, abstained = reply["ranking"], reply.get("abstained") or []
    if not isinstance(places, list) or not isinstance(abstained, list):
        raise ValueError("'ranking' and 'abstained' must be lists, the first from best to worst")
    ties = [[str(name) for name in (place if isinstance(place, list) else [place])] for place in places]
    tags = [tag(i) for i in range(num_candidates)]
    check_tags([*(name for tied in ties for name in tied), *map(str, abstained)], tags)
    share = standardised_ranks({name: -float(place) for place, tied in enumerate(ties) for name in tied})
    low, high = scale
    total = {name: round(low + (high - low) * value, 6) for name, value in share.items()}
    rationale = _words(reply.get("rationale"))
    return [CandidateScore(total=total.get(name), rationale=rationale) for name in tags]


def _words(rationale: object) -> str | None:
    return rationale if isinstance(rationale, str) and rationale.strip() else None
