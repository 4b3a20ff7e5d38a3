"""Who comments in words on an answer; one file is one annotator.

An annotator module has
    KIND: "ai" or "rule"
    class Settings(Config)                       its section of the recipe
    def annotate(items, settings, task) -> Iterator[Feedback]        one for each item, in order
and, if it asks a chat endpoint,
    def questions(items, settings, task) -> Iterator[Planned]        the questions of `annotate`, which takes `payer`

`items` are `AnnotationItem`s of hasse.stages.feedback.items: the prompt, one answer, and its judgement.
People annotate through a queue file instead: `hasse annotate`.
"""
