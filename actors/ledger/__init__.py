"""Ledger. messages.py is its interface, actor.py its life; accounts and prices."""
