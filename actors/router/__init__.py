"""Router. Messages in messages.py, its life in actor.py, the decision in policy.py."""
