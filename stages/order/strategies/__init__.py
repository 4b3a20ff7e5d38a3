"""How judged candidates are ordered; one file is one strategy.

A strategy module has
    class Settings(StrategySettings)                            its section of the recipe
    def orders(items, settings) -> Iterator[PartialOrder]       one order for each prompt
and may have
    def external(settings) -> dict[str, str]                    digests of the files that it reads

`items` are the prompts with their judged candidates: `JudgedPrompt` of hasse.stages.order.judged.
"""
