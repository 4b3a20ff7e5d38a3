"""PIT: a model that improves answers, and the reward model that measures by how much.

`improver` reads triples (prompt, better answer, other answer) and samples improved answers, and `examples` makes
training examples of the triples. `rl` and `reinforce` train the improver with the gap reward model, and `improve_file`
improves the answers of a file.
"""
