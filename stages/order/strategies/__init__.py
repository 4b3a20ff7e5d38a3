"""How judged candidates are ordered; one file is one strategy.

A strategy module has
    class Settings(StrategySettings)                                               its section of the recipe
    def external(settings) -> dict[str, str]                             optional: digests of files it reads
    def orders(items, settings) -> Iterator[PartialOrder]                one order a prompt

`items` are (prompt, [(candidate, judgement or None), ...]).
"""
