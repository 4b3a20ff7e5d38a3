"""The library behind `import hasse`: compute a recipe, read the runs of a store, load the models that were trained.

`compute` runs a recipe in this process, `store_reader` opens a store and finds its runs, `recorded` gives the steps of
a run with their tables, and `models` loads a checkpoint with transformers. These names
are shown by `python/hasse/__init__.py`.
"""
