"""Where prompts come from; one file is one source.

A source module has
    class Settings(Config)                            its section of the recipe
    def rows(settings) -> Iterator[RawPrompt]         in source order; raises SourceError
    def digest(settings) -> str                       sha256 of the input bytes; "" when the settings say everything
"""
