"""The Console put together. Imports all of it: 20 MB, so only its door comes here."""

from __future__ import annotations

import trio

from gateway.admin.building import Admin
from gateway.console.app import Console
from gateway.console.pages import every


def build(admin: Admin) -> Console:
    """Over the admin API."""
    books = admin.office.books
    return Console(
        admin.api, admin.office, lambda: books.people, every, now=trio.current_time
    )
