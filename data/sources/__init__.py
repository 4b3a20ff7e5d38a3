"""Sources of prompts. Each file is one source.

A source module has
    class Settings(Config)                            the source's section of the recipe
    def rows(settings) -> Iterator[RawPrompt]         the prompts in the order of the source; raises SourceError
    def digest(settings) -> str                       sha256 of the input bytes; "" if the settings determine all rows
and, if a prompt shows parts of other rows, so that a new row can change an old prompt,
    MIXES_ROWS = True                                 nightly runs refuse such a source
"""
