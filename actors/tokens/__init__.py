"""Tokens: Google's access tokens, fetched and renewed before they end."""
