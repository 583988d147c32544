"""Passwords: Argon2id in threads, a few at a time.

Owns: cost and rules. A hash takes 64 MiB and some 100 ms of a core by intent; that many
at once is what a flood of logins can take (RFC 9106, second recommended option).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar, TypeVarTuple

import trio
from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError
from argon2.profiles import RFC_9106_LOW_MEMORY

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

AT_ONCE_MAX: Final = 2
CHARS_MIN: Final = 12  # NIST SP 800-63B asks for 8, and 15 where nothing else is.
CHARS_MAX: Final = 256  # A long one costs no more; without a bound it would.
# What everybody tries first. Length does the rest.
COMMON: Final = frozenset(
    {
        "password1234", "123456789012", "qwertyuiop12", "passwordpassword",
        "stagedoor123", "administrator", "letmein12345", "iloveyou1234",
    }
)  # fmt: skip


class Weak(ValueError):
    """A password that is refused; says why."""


def check(password: str, name: str) -> None:
    """Raise Weak."""
    if len(password) < CHARS_MIN:
        raise Weak(f"use at least {CHARS_MIN} characters; a few words are best")
    if len(password) > CHARS_MAX:
        raise Weak(f"use at most {CHARS_MAX} characters")
    if password.lower() in COMMON or len(set(password)) < 5:
        raise Weak("is one of those that everybody tries first")
    if name and (name in password.lower() or password.lower() in name):
        raise Weak("must not be your name")


class Passwords:
    """Hashes and verifies. One for a process."""

    def __init__(self, hasher: PasswordHasher | None = None) -> None:
        self._hasher = hasher or PasswordHasher.from_parameters(RFC_9106_LOW_MEMORY)
        self._limiter = trio.CapacityLimiter(AT_ONCE_MAX)
        self._nobody = ""

    def __repr__(self) -> str:
        return f"<Passwords {self._limiter.borrowed_tokens}/{AT_ONCE_MAX} busy>"

    async def hashed(self, password: str) -> str:
        """What is stored of it."""
        return await self._run(self._hasher.hash, password)

    async def verify(self, stored: str, password: str) -> bool:
        """Whether it is this one. Of nobody (an empty `stored`) it takes as long."""
        if not stored:
            if not self._nobody:
                self._nobody = await self.hashed("nobody has this password")
            stored = self._nobody
            password += "\0"  # Which nobody can have typed.
        return await self._run(self._verified, stored, password[: CHARS_MAX + 1])

    def is_stale(self, stored: str) -> bool:
        """Whether it was hashed at another cost than today's."""
        return self._hasher.check_needs_rehash(stored)

    def _verified(self, stored: str, password: str) -> bool:
        try:
            return self._hasher.verify(stored, password)
        except (Argon2Error, InvalidHashError):
            return False

    async def _run(self, work: Callable[[*Ts], T], *args: *Ts) -> T:
        return await trio.to_thread.run_sync(work, *args, limiter=self._limiter)
