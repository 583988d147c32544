"""How the shipped catalogue is made."""
