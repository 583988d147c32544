"""Traces of requests, told to an OpenTelemetry collector; off by default.

entry.py     a request's place in a trace, as its client names it or by chance
spans.py     the spans of a request, from its record: pure
exporter.py  a thread that posts them; all that needs `stagedoor[otel]`

A request under way knows its ids and nothing else: what its spans say is read from the
record that it leaves anyway. So tracing costs a request some ids, and no span can say
what a record must not.
"""
