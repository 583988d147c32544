"""Archivist: takes the journal's records into the database, and forgets old ones."""
