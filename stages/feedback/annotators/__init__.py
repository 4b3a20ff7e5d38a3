"""Who says in words what is right or wrong with an answer; one file is one annotator.

An annotator module has
    KIND: "ai" or "rule"
    class Settings(Config)                       its section of the recipe
    def annotate(items, settings, task) -> Iterator[Feedback]        one for each item, in order
and may have
and, where it asks a chat endpoint,
    def questions(items, settings, task) -> Iterator[Planned]        what `annotate` would ask

`items` are `AnnotationItem`s of hasse.stages.feedback.items: the prompt, one answer, and what was judged of it.
People annotate through a queue file instead: `hasse annotate`.
"""
