"""Where prompts come from; one file is one source.

A source module has
    class Settings(Config)                            its section of the recipe
    def rows(settings) -> Iterator[RawPrompt]         in source order; raises SourceError
    def digest(settings) -> str                       sha256 of the input bytes; "" when the settings say everything
and, where a prompt shows parts of other rows, so that a new row can change an old prompt,
    MIXES_ROWS = True                                 such a source is not run every night
"""
