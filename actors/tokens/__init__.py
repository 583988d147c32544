"""Tokens. Messages in messages.py, its life in actor.py; signing in vault/google."""
