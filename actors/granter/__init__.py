"""Granter. Messages in messages.py, its life in actor.py, tokens in policy.py."""
