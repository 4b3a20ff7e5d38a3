"""Hub: artifacts of a store as repositories of the Hugging Face Hub.

origin.py      the run, the recipe and the results that belong to an artifact
contents.py    the files of the repository: a model, an adapter, or tables
cards.py       the cards of models and data sets
push.py        the upload
"""
