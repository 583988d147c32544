"""Many processes behind one address: a parent that binds, and workers that serve.

parent.py   binds nothing itself, is given the sockets; forks, watches, restarts
policy.py   when to restart, when to give up: pure
link.py     the line between the parent and one worker
doors.py    the sockets that all workers share
peers.py    how a worker asks the others
merging.py  many workers' answers as one: pure
chorus.py   what the routes and the control socket answer for all workers
"""
