"""hasse: prompts and a student model in, a better student out, by way of candidate answers in a partial order."""
