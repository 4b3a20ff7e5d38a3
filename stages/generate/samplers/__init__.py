"""Where candidates come from; one file is one sampler.

A sampler module has
    NEEDS_MODEL: bool                            whether a model is loaded for it: `settings.model`, of the recipe's
    class Settings(Config)                       with `name`, the beginning of its candidates' ids
    def num_candidates(settings) -> int          a prompt, at most
    def has_work(prompt, settings) -> bool       whether it has anything to give for that prompt
    def needs_model(settings) -> bool            optional: in place of NEEDS_MODEL, where that depends
    def engine(settings) -> EngineSettings | None        optional: of vLLM, which then gets the model's folder to answer
    def answers(prompt, settings) -> tuple[str, ...]     optional: what it takes from the prompt as it is
    def sample(prompts, settings, model) -> Iterator[list[Candidate]]    one non-empty list a prompt, in order
and, where it asks a chat endpoint,
    def questions(prompts, settings) -> Iterator[Planned]                what `sample` would ask
"""
