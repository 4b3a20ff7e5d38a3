"""Who judges candidates; one file is one teacher.

A teacher module has
    NEEDS_MODEL: bool                            whether it judges by the recipe's `teacher`
    class Settings(Config)                       its section of the recipe
    def judge(items, settings, task, model) -> Iterator[list[Judgement]]    one judgement a candidate, in order
and may have
    NEEDS_TOKENS: bool                           whether it reads the candidates' tokens, beside their texts
    IN_CHILD: bool                               whether it loads a model of its own, and so runs in a child process
    OWN_PROCESS: bool                            whether its model answers in processes of their own; or a function
                                                 own_process(settings), where that depends
    REPEATS: bool                                whether a question asked again may be answered otherwise; then `judge`
                                                 takes `repeat`, a number that makes it another question
    def external(settings) -> dict[str, str]     digests of files and models that it reads
    def questions(items, settings) -> Iterator[Planned]     where it asks a chat endpoint: what `judge` would ask
    def close()                                  gives a model's memory back

`items` are (prompt, its candidates); `task` says what a right answer is; `model` is a LazyModel or None. A teacher that
has `members(settings)` and `combine(...)` instead of `judge` makes one judgement of those of others: `several`.
"""
