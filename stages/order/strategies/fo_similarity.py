"""FO-similarity: a full order by the cosine between the embedding of each answer and that of the human answer.

This order can put a wrong answer above a right one: it is the baseline that partial orders are compared with. A prompt
without a human answer gives an order with status `filtered`.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
from pydantic import Field

from hasse.data.errors import InputError
from hasse.data.records import PartialOrder, Prompt
from hasse.stages.grading.tokens import canonical, tokens
from hasse.stages.order.judged import Judged, JudgedPrompt, StrategySettings, humans, is_human
from hasse.stages.order.partial_order import from_levels


class Settings(StrategySettings):
    strategy: Literal["fo_similarity"] = "fo_similarity"
    embedder: str = Field(
        default="tfidf",
        description="tfidf (over the words of a prompt's own candidates), or a sentence-transformers model.",
    )


def orders(items: Sequence[JudgedPrompt], settings: Settings) -> Iterator[PartialOrder]:
    embed = _tfidf if settings.embedder == "tfidf" else _sentence_transformer(settings.embedder)
    for prompt, judged in items:
        candidates = [candidate for candidate, _ in judged]
        human = next((i for i, candidate in enumerate(candidates) if is_human(candidate)), None)
        if human is None:
            yield _no_human(prompt, judged)
            continue
        vectors = embed([candidate.text for candidate in candidates])
        similarity = [float(np.round(v @ vectors[human], 6)) for v in vectors]
        levels = {c.candidate_id: cosine for c, cosine in zip(candidates, similarity, strict=True)}
        levels[candidates[human].candidate_id] = 2.0
        yield from_levels(prompt.prompt_id, levels, humans=humans(judged), good=2.0, strategy="fo_similarity")


def _no_human(prompt: Prompt, judged: Sequence[Judged]) -> PartialOrder:
    ids = tuple(candidate.candidate_id for candidate, _ in judged)
    return PartialOrder(
        prompt_id=prompt.prompt_id,
        strategy="fo_similarity",
        candidate_ids=ids,
        levels=(None,) * len(ids),
        pairs=(),
        status="filtered",
        error="no human answer to be similar to",
    )


def _tfidf(texts: list[str]) -> np.ndarray:
    """One unit vector for each text; a text without words has the zero vector, which is similar to no other."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    if not any(map(_words, texts)):
        return np.zeros((len(texts), 1))
    vectorizer = TfidfVectorizer(analyzer=_words)  # type: ignore[arg-type]  a function is taken as well
    return vectorizer.fit_transform(texts).toarray()


def _words(text: str) -> list[str]:
    """The words of the text, in any script; in a script without spaces, its characters."""
    return [token.text for token in tokens(canonical(text)) if any(c.isalnum() for c in token.text)]


def _sentence_transformer(name: str) -> Any:
    try:
        from sentence_transformers import SentenceTransformer  # pyright: ignore[reportMissingImports]  an extra
    except ImportError as error:
        raise InputError(
            f"embedder {name!r} needs the package sentence-transformers: pip install 'hasse-llm[embeddings]'"
        ) from error
    model = SentenceTransformer(name, trust_remote_code=False, model_kwargs={"use_safetensors": True})
    return lambda texts: model.encode(texts, normalize_embeddings=True, show_progress_bar=False)
