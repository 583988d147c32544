"""Stagedoor's actors: one folder each, the same files in each.

`messages.py` is all that others import; policies beside it are pure; `actor.py` obeys
them. `tree.py` shows the whole supervision tree on one screen.
"""
