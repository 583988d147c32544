"""The outside: settings, command line, sockets, HTTP, and what puts it together."""
