"""Vault: keeps providers' keys sealed, and lends each for one request's head.

messages.py is its interface, actor.py its life, lending.py and lease.py a key on loan,
safe.py and sealing.py the envelopes, kms/ who wraps them.
"""
