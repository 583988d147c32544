"""What the actors need kept: files now, databases behind the same ports later."""
