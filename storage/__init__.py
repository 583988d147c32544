"""What the actors' ports need kept: files, and SQL in one of two databases."""
