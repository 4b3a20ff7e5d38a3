"""How a question is put: an instruction before it, demonstrations before that, and the template that joins them.

Every prompt carries its instruction and demonstrations, so that samplers, judges, training and evaluation ask the same.
Only held-out prompts may be asked in another way, and only where the recipe says so.

A demonstration is never a held-out prompt. Prompts that demonstrate stay in training, where each is asked without
itself among its demonstrations.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from pydantic import Field, field_validator

from hasse.data.errors import SourceError
from hasse.data.records import HELD_OUT, Message, Prompt
from hasse.data.settings import Config
from hasse.data.settings.registry import unknown
from hasse.data.text import normalise
from hasse.stages.chat.templates import names_in, render_text

NAMES = ("question", "instruction", "demonstrations", "context", "group")
"""The values that a template may use. Gold answers are not among them."""


class Demonstration(Config):
    """An example of a question and its answer."""

    prompt: str = Field(min_length=1, description="The question, as the source would put it.")
    answer: str = Field(min_length=1, description="The answer that the model should imitate.")


class QuestionSettings(Config):
    """How questions are put."""

    instruction: str | None = Field(
        default=None,
        description="Text before the question. Left out: the instruction of the source, which e-SNLI, entailment, "
        "SQuAD and multidoc have; a student from scratch gets none. An empty text: none.",
    )
    demonstrations: int | tuple[Demonstration, ...] = Field(
        default=0,
        description="Example questions with answers that a model reads before the question: a number of them, drawn "
        "from the training prompts with an answer, each label in turn; or a list of {prompt, answer}.",
    )
    template: str | None = Field(
        default=None,
        description="Jinja template of the question's text, with the names question, instruction, demonstrations (a "
        "list of prompt and answer), context and group. The instruction or demonstrations that it does not name are "
        "put before it as without a template.",
    )

    @field_validator("demonstrations")
    @classmethod
    def _is_a_number(cls, demonstrations: Any) -> Any:
        if isinstance(demonstrations, int) and demonstrations < 0:
            raise ValueError(f"a number from 0, or a list of {{prompt, answer}}, is needed; found {demonstrations}")
        return demonstrations

    @field_validator("template")
    @classmethod
    def _is_a_template(cls, template: str | None) -> str | None:
        names = names_in(template) if template is not None else {"question"}
        for name in sorted(names - set(NAMES)):
            raise ValueError(f"the template: {unknown(name, list(NAMES), kind='name')}")
        if "question" not in names:
            raise ValueError("the template does not name the question: write {{ question }}")
        return template

    @property
    def num_drawn(self) -> int:
        """The number of demonstrations that are drawn from the training prompts."""
        return self.demonstrations if isinstance(self.demonstrations, int) else 0


class HeldOutQuestion(QuestionSettings):
    """How held-out prompts are asked, where this differs from training. What is left out is as in `task`."""

    demonstrations: int | tuple[Demonstration, ...] | None = Field(
        default=None, description="As in `task`: a number, or a list of {prompt, answer}."
    )

    def over(self, task: QuestionSettings) -> QuestionSettings:
        """The settings of the task with what this section gives in their place."""
        given = {name: value for name in QuestionSettings.model_fields if (value := getattr(self, name)) is not None}
        return QuestionSettings(**{name: getattr(task, name) for name in QuestionSettings.model_fields} | given)


@dataclass(frozen=True, slots=True)
class Shown:
    """A demonstration: a question, of which only text, context and group are used, and its answer."""

    question: Prompt
    answer: str


class Asker:
    """Puts instruction, demonstrations and template around the questions of prompts."""

    def __init__(self, settings: QuestionSettings, drawn: Sequence[Shown] = ()):
        given = settings.demonstrations if not isinstance(settings.demonstrations, int) else ()
        self.shown = [*drawn, *(Shown(_question(one.prompt), one.answer) for one in given)]
        self.texts = [normalise(one.question.text) for one in self.shown]
        self.instruction, self.template = settings.instruction or None, settings.template
        names = names_in(settings.template) if settings.template is not None else set()
        self.puts_instruction, self.puts_demonstrations = "instruction" in names, "demonstrations" in names

    def ask(self, prompt: Prompt) -> Prompt:
        """The prompt as it is asked.

        Raises SourceError for a demonstration that is a held-out prompt, and for a conversation in a template.
        """
        shown = self._others(prompt)
        turns = () if self.puts_demonstrations else tuple(turn for one in shown for turn in self._turns(one))
        return replace(
            prompt,
            text=self._put(prompt, prompt.text, shown),
            variants=tuple(self._put(prompt, text, shown) for text in prompt.variants),
            instruction=None if self.puts_instruction else self.instruction,
            demonstrations=turns,
        )

    def _others(self, prompt: Prompt) -> list[Shown]:
        """The demonstrations that are not the prompt itself."""
        own = normalise(prompt.text)
        if prompt.split in HELD_OUT and own in self.texts:
            raise SourceError(
                f"a demonstration is the prompt {prompt.prompt_id} of the split {prompt.split}, and would give its "
                "answer away; take another",
                field="demonstrations",
            )
        return [one for one, text in zip(self.shown, self.texts, strict=True) if text != own]

    def _turns(self, one: Shown) -> tuple[Message, Message]:
        asked = self._put(one.question, one.question.text, [])
        return Message(role="user", content=asked), Message(role="assistant", content=one.answer)

    def _put(self, prompt: Prompt, text: str, shown: Sequence[Shown]) -> str:
        if self.template is None:
            return text
        if prompt.messages:
            raise SourceError(
                f"prompt {prompt.prompt_id} is a conversation, and a template takes texts; leave the template out",
                field="template",
            )
        values = {
            "question": text,
            "instruction": self.instruction or "",
            "demonstrations": [{"prompt": one.question.text, "answer": one.answer} for one in shown],
            "context": prompt.context or "",
            "group": prompt.group or "",
        }
        return render_text(self.template, values, where="the template of the question")


def answer_of(prompt: Prompt) -> str | None:
    """The answer of a prompt that demonstrates or teaches: the expert's, else the first gold answer."""
    return prompt.reference or (prompt.answers[0] if prompt.answers else None)


def _question(text: str) -> Prompt:
    return Prompt(prompt_id="", text=text, source="", cluster_id="", split="train")
