"""Plan: a recipe as a list of steps.

    steps.py        from the prompts to the trained models
    rounds.py       what a plan is made of: rounds, and the models that are trained in them
    pit.py          the steps of a PIT arm
    evaluation.py   the last steps: evaluation, benchmarks and the report

Arm, seed and round of a step are its labels. The name of a step is for people and is never taken apart.
"""
