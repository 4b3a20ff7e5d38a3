"""Separate a model's thinking from its answer.

    <think>maybe 42</think> 41           thinking "maybe 42", answer "41"
    maybe 42</think> 41                  the same; the chat template had opened the thinking
    <think>maybe 42                      thinking "maybe 42", answer "", since the model did not get to its answer
    41                                   no thinking, answer "41"

Models mark their thinking by tags of several kinds, which `_OPENS` and `_CLOSES` list. A tag of one kind may be closed
by a tag of another kind, and thinking may come several times. Text before a closing tag that no tag opened is
thinking too. A tag between backticks is a word of the answer.
"""

import re
from dataclasses import dataclass

_NAMES = (
    r"(?:[a-z]+[:_-]|ant)?(?:think(?:ing)?|thoughts?)(?:[_-]process)?|reason(?:ing)?|analysis|reflection|scratch_?pad"
    r"|inner_monologue|chain_of_thought|rationale|deliberation"
)

_OPENS = rf"""
    <(?:{_NAMES})(?:\s[^<>/]*)?>                                # most open models
  | \[THINK\]                                                   # Magistral
  | <\|(?:begin_of_thought|start_thinking|thinking|think|think(?:ing)?_start|inner_prefix)\|>   # OpenThinker, Command
  | ◁think▷                                                     # Kimi
  | <unused94>(?:thought\n)?                                    # Gemma
  | (?:<\|start\|>assistant)?<\|channel\|>(?:analysis|commentary)[^<]*<\|message\|>      # gpt-oss
  | \A(?-i:analysis(?=[A-Z][a-z]*\s))                         # gpt-oss, its special tokens left out
"""
_CLOSES = rf"""
    </(?:{_NAMES})\s*>
  | \[/THINK\]
  | <\|(?:end_of_thought|end_thinking|/thinking|/think|think(?:ing)?_end|inner_suffix)\|>
  | ◁/think▷
  | <unused95>
  | (?:<\|end\|>)?(?:<\|start\|>assistant)?<\|channel\|>final[^<]*<\|message\|>
  | (?-i:assistantfinal)
"""
_TAG = re.compile(rf"(?<!`)(?:(?P<open>{_OPENS})|(?P<close>{_CLOSES}))(?!`)", re.VERBOSE | re.IGNORECASE)
_MAY_THINK = re.compile(r"[<\[◁]|\Aanalysis|assistantfinal")
"""Every tag matches this pattern, and most texts do not; the search for tags then ends early."""
_HARMONY_END = re.compile(r"<\|(?:return|end)\|>\s*\Z")


@dataclass(frozen=True, slots=True)
class SplitText:
    """The thinking and the answer in a text. `thinking` is None if the text has none."""

    thinking: str | None
    answer: str

    @property
    def is_cut_off(self) -> bool:
        """Whether the text ends before the answer begins."""
        return self.thinking is not None and not self.answer


def split_thinking(text: str, *, opened: bool = False) -> SplitText:
    """Split a text into thinking and answer. opened: the prompt opened the thinking, so the text begins inside it.

    A text without thinking is returned unchanged as the answer. Otherwise the answer has no white space around it.
    """
    spans = answer_spans(text, opened=opened)
    if spans == [(0, len(text))]:
        return SplitText(None, text)
    answer = _HARMONY_END.sub("", "".join(text[start:end] for start, end in spans)).strip()
    return SplitText(_thoughts(text, spans), answer)


def answer_spans(text: str, *, opened: bool = False) -> list[tuple[int, int]]:
    """(start, end) of each part of the text that belongs to the answer."""
    if not (opened or _MAY_THINK.search(text)):
        return [(0, len(text))]
    kept: list[tuple[int, int]] = []
    start, thinking, closed = 0, opened, False
    for tag in _TAG.finditer(text):
        if tag["open"] is not None:
            kept += [] if thinking else [(start, tag.start())]
            thinking = True
            continue
        if not thinking and not (closed and not text[tag.end() :].strip()):
            kept = []  # all text before the tag was thinking
        elif not thinking:
            kept += [(start, tag.start())]  # a second closing tag at the very end closes nothing
        start, thinking, closed = tag.end(), False, True
    return kept if thinking else [*kept, (start, len(text))]


def ends_in_thinking(prompt: str) -> bool:
    """Whether a prompt ends with a tag that opens thinking, so that the reply begins inside it."""
    tags = list(_TAG.finditer(prompt))
    return bool(tags) and tags[-1]["open"] is not None and not prompt[tags[-1].end() :].strip()


def has_tags(text: str) -> bool:
    """Whether a text, for instance a chat template, holds a tag that opens or closes thinking."""
    return _TAG.search(text) is not None


def _thoughts(text: str, spans: list[tuple[int, int]]) -> str:
    """The text outside the spans, without the tags."""
    edges = [0, *(edge for span in spans for edge in span), len(text)]
    outside = (text[a:b] for a, b in zip(edges[::2], edges[1::2], strict=True))
    return "\n".join(filter(None, (_TAG.sub("", part).strip() for part in outside)))
