"""Keeper: answers of the Responses API that may be fetched, or gone on from.

messages.py is its interface, actor.py its life, recording.py one answer.
"""
