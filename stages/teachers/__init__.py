"""Who judges candidates; one file is one teacher.

A teacher module has
    NEEDS_MODEL: bool                            whether the recipe's `teacher` is loaded for it
    class Settings(Config)                       its section of the recipe
    def judge(items, settings, task, model) -> Iterator[list[Judgement]]    one judgement a candidate, in order
and may have
    MODULES: tuple[str, ...]                     other modules whose source decides what it says
    def external(settings) -> dict[str, str]     digests of files that it reads
    def questions(items, settings) -> Iterator[Planned]     where it asks a chat endpoint: what `judge` would ask

`items` are (prompt, its candidates); `task` says what a right answer is; `model` is a LoadedModel or None.
"""
