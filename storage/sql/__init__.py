"""One SQL store behind one port: SQLite on one machine, PostgreSQL for many."""
