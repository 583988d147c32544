"""Measurements, one command each: ``python -m bench.unary``, ``bench.stream``, ..."""
