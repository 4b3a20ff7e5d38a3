"""Plugs: the parts of a run that a recipe chooses by name, such as a training method, a judge or a source of prompts.

A plug is a Python module with a class `Settings`, whose tag field names the plug, and the functions that the `Protocol`
of its kind asks for. `kinds` lists the kinds of plugs and where each Protocol is. `outside` finds plugs that do not
come with hasse. `check` holds every plug to its Protocol when it is loaded. `hasse.data.settings.registry` is what the
rest of hasse asks for plugs.
"""
