"""Ledger: what may be spent, what is held for whom, what was spent in the end.

messages.py is its interface, actor.py its life, accounts.py the whole of its policy.
Alone it counts in books.py and caps.py; with other processes it holds from slices that
a store grants (escrow.py, and clearing.py on the store's side).
"""
