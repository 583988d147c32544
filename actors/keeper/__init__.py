"""Keeper. Messages in messages.py, its life in actor.py, one answer in recording.py."""
