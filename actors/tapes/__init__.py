"""Tapes: answers that may be picked up where they were cut, or given once more.

messages.py is its interface, actor.py its life, tape.py one answer, sharing.py what
other workers find of it.
"""
