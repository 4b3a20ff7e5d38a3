"""Where candidates come from; one file is one sampler.

A sampler module has
    NEEDS_MODEL: bool                            whether a model is loaded for it: `settings.model`, of the recipe's
    class Settings(Config)                       with `name`, the beginning of its candidates' ids
    def num_candidates(settings) -> int          a prompt, at most
    def has_work(prompt, settings) -> bool       whether it has anything to give for that prompt
    def sample(prompts, settings, model) -> Iterator[list[Candidate]]    one non-empty list a prompt, in order
and, where it asks a chat endpoint,
    def questions(prompts, settings) -> Iterator[Planned]                what `sample` would ask
"""
