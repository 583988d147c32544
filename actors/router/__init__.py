"""Router: which deployments could serve a request, the best one first, and why.

messages.py is its interface, actor.py its life; policy.py decides, over a snapshot.
"""
