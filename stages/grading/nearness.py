"""SQuAD's official metrics, and the similarity by edit distance."""

from collections import Counter

from rapidfuzz.distance import Levenshtein

from hasse.data.text import normalise_answer


def exact_match(prediction: str, gold: str) -> bool:
    """SQuAD's exact match: whether the two are equal after normalisation."""
    return normalise_answer(prediction) == normalise_answer(gold)


def token_f1(prediction: str, gold: str) -> float:
    """SQuAD's F1 of the words after normalisation. If one of the two is empty, 1 when both are, else 0."""
    found, wanted = normalise_answer(prediction).split(), normalise_answer(gold).split()
    if not found or not wanted:
        return float(found == wanted)
    common = sum((Counter(found) & Counter(wanted)).values())
    return 2 * common / (len(found) + len(wanted))


def edit_similarity(prediction: str, gold: str) -> float:
    """1 - (edit distance) / (length of the gold answer), both in words, and at least 0."""
    found, wanted = prediction.split(), gold.split()
    if not wanted:
        return float(not found)
    return max(0.0, 1 - Levenshtein.distance(found, wanted) / len(wanted))


SCORES = {"f1": token_f1, "edit": edit_similarity}
