"""Tapes. Messages in messages.py, its life in actor.py, one answer in tape.py."""
