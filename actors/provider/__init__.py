"""Provider. messages.py is its interface, actor.py its life; breaker, transport."""
