"""Auditor. Messages in messages.py, its life in actor.py, its port in ports.py."""
