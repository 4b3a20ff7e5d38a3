"""The recipe: one settings model that reads the YAML file, `--set` and the form on Prefect's pages.

recipe.py           Recipe, and how a recipe is loaded
sections.py         what a recipe holds, section by section
train_section.py    the section `train`: arms, optimiser, seeds
nightly_section.py  the section `nightly`
checks.py           sections that contradict each other
gold.py             settings that need gold answers
endpoints.py        the chat endpoints in a recipe
places.py           which settings name files, programs, endpoints or addresses
"""
