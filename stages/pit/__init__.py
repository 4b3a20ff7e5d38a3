"""PIT: a model that improves answers, and the reward model that measures by how much.

`examples` makes triples (prompt, answer, better answer), `improver` renders them, `rl` trains the improver with the gap
reward model, and `improve_file` improves the answers of a file.
"""
