"""Granter: requests that wait for a browser to start them, each once, with a token.

messages.py is its interface, actor.py its life, policy.py the tokens.
"""
