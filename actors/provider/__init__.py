"""Provider: admission and health of one deployment, and the way to its sockets.

messages.py is its interface, actor.py its life (it trips by exiting), admission.py,
breaker.py and limits.py its policy; transport.py and what it stands on speak HTTP.
"""
