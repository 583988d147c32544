"""Stream. Messages in messages.py, its life in actor.py, one call in attempt.py."""
