"""The ledger actor: messages.py is its interface, actor.py its life, the rest its policy."""
