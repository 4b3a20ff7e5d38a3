"""Who scores candidates; one file is one teacher.

A teacher module has
    NEEDS_MODEL: bool                            whether it scores by the model in the recipe's section `teacher`
    class Settings(Config)                       its section of the recipe
    def judge(items, settings, task, model) -> Iterator[list[Judgement]]    for each prompt, one judgement a candidate
and may have
    NEEDS_TOKENS: bool                           whether it reads the candidates' token ids, beside their texts
    IN_CHILD: bool                               whether it loads a model of its own, and so runs in a child process
    OWN_PROCESS: bool                            whether its model answers in processes of their own; or a function
                                                 own_process(settings), where that depends on the settings
    REPEATS: bool                                whether the same question may be answered differently when it is asked
                                                 again; then `judge` takes `repeat`, a number that makes it another one
    def external(settings) -> dict[str, str]     digests of the files and models that it reads
    def questions(items, settings) -> Iterator[Planned]     what `judge` would ask, for one that asks a chat endpoint;
                                                            then `judge` takes `payer`, who pays for its questions
    def close()                                  frees the memory of a model

`items` are pairs of a prompt and its candidates; `task` says which answers are right; `model` is a LazyModel or None.
The teacher `several` has `members(settings)` and `combine(...)` in place of `judge`: it makes one judgement out of
those of other teachers.
"""
