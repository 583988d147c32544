"""Vault. Messages in messages.py, its life in actor.py, a key on loan in secret.py."""
