"""Where candidates come from; one file is one sampler.

A sampler module has
    NEEDS_MODEL: bool                            whether it needs a model of the recipe, named by `settings.model`
    class Settings(Config)                       with `name`, the beginning of its candidates' ids
    def num_candidates(settings) -> int          the largest number of candidates of a prompt
    def has_work(prompt, settings) -> bool       whether it can give a candidate for that prompt
    def sample(prompts, settings, model) -> Iterator[list[Candidate]]    one non-empty list for each prompt, in order
and may have
    def needs_model(settings) -> bool            in place of NEEDS_MODEL, where that depends on the settings
    def engine(settings) -> EngineSettings | None        a vLLM engine that answers; `model` is then not loaded here
    def answers(prompt, settings) -> tuple[str, ...]     the answers that it takes from the prompt as they are
and, if it asks a chat endpoint,
    def questions(prompts, settings) -> Iterator[Planned]       the questions of `sample`, which then takes `payer`
    STREAMS = True                               whether `sample` can read its prompts from a stream
"""
