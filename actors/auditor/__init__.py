"""Auditor: the single writer of the records and of the log that anyone can verify.

messages.py is its interface, actor.py its life, ports.py where it writes; the rest is
the log itself (entries, tiles, notes, proofs), pure.
"""
