"""Who judges candidates; one file is one teacher.

A teacher module has
    class Settings(Config)                                               its section of the recipe
    def judge(items, settings, task) -> Iterator[list[Judgement]]        one judgement a candidate, in order

`items` are (prompt, its candidates); `task` says what a right answer is.
"""
