"""Prober: asks idle deployments how they are."""
