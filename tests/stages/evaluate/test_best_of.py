"""The best of several sampled answers, by a judge of gaps."""

from hasse.data.records import Prompt
from hasse.stages.evaluate.best_of import BestOfAnswers
from hasse.stages.evaluate.questions import TokenisedPrompt
from hasse.stages.evaluate.settings import ChooseSettings, EvaluateSettings
from hasse.stages.grading import TaskSettings
from hasse.stages.models.tokens import prompt_token_ids
from tests.scripted_model import scripted


class LikesGood:
    """The gap of an answer that is good to one that is not."""

    def calibrated(self, asked):
        return [float(new == "good") - float(old == "good") for _, new, old in asked]


def answers(num, temperature):
    model, tokenizer = scripted(["good", "bad"])
    made = object.__new__(BestOfAnswers)  # without a reward model on disk
    made.settings = EvaluateSettings(
        task=TaskSettings(), feedback_template="{prompt}{answer}", max_tokens=4,
        choose=ChooseSettings(num=num, template="{prompt}{reference}"),
    )  # fmt: skip
    made.choose, made.model, made.tokenizer, made.judge = made.settings.choose, model, tokenizer, LikesGood()
    prompts = [Prompt(prompt_id=f"p{i}", text="So?", source="s", cluster_id="c", split="test") for i in range(60)]
    questions = [TokenisedPrompt(prompt, prompt_token_ids(tokenizer, prompt.text)) for prompt in prompts]
    return [sampled.text for sampled in made.answers(questions, 0, temperature)]


def test_more_answers_to_choose_from_are_better_and_one_greedy_answer_stays():
    one, two, four = (answers(num, 1.0) for num in (1, 2, 4))
    assert 20 < one.count("good") < 40  # half of them
    assert one.count("good") < two.count("good") < four.count("good")
    assert all(b == "good" for a, b in zip(one, two, strict=True) if a == "good"), "a good answer is never given up"
    assert len(set(answers(4, 0.0))) == 1
