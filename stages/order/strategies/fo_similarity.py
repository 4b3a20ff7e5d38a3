"""FO-similarity: a full order by the cosine between each answer's embedding and the human answer's.

It can put a wrong answer above a right one: the baseline that partial orders are compared with. Prompts without a
human answer give a row with status `filtered`.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
from pydantic import Field

from hasse.data.errors import InputError
from hasse.data.records import PartialOrder, Prompt
from hasse.stages.grading.tokens import canonical, tokens
from hasse.stages.order.partial_order import Judged, StrategySettings, from_levels, is_human


class Settings(StrategySettings):
    strategy: Literal["fo_similarity"] = "fo_similarity"
    embedder: str = Field(
        default="tfidf",
        description="tfidf (over the words of a prompt's own candidates), or a sentence-transformers model.",
    )


def orders(items: Sequence[tuple[Prompt, list[Judged]]], settings: Settings) -> Iterator[PartialOrder]:
    embed = _tfidf if settings.embedder == "tfidf" else _sentence_transformer(settings.embedder)
    for prompt, judged in items:
        candidates = [candidate for candidate, _ in judged]
        human = next((i for i, candidate in enumerate(candidates) if is_human(candidate)), None)
        if human is None:
            yield _no_human(prompt, judged)
            continue
        vectors = embed([candidate.text for candidate in candidates])
        levels = [float(np.round(v @ vectors[human], 6)) for v in vectors]
        levels[human] = 2.0
        yield from_levels(prompt.prompt_id, candidates, levels, strategy="fo_similarity", good=2.0)


def _no_human(prompt: Prompt, judged: list[Judged]) -> PartialOrder:
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
    """Unit vectors; a text without words is the zero vector, similar to nothing."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    if not any(map(_words, texts)):
        return np.zeros((len(texts), 1))
    vectorizer = TfidfVectorizer(analyzer=_words)  # type: ignore[arg-type]  a function is taken as well
    return vectorizer.fit_transform(texts).toarray()


def _words(text: str) -> list[str]:
    """Words of any script; of a script without spaces its characters."""
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
