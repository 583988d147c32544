"""Asks idle deployments how they are."""
