"""The archivist: takes the journal's records into the database."""
