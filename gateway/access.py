"""What comes with a key beside its site: from where it may be used, and how answers go.

Owns: the settings of a site that the HTTP face obeys, ready to be asked. A snapshot;
one object for all keys of a site, replaced with it.
"""

from __future__ import annotations

import attrs

from gateway.settings.origins import NOBODY, Origins
from gateway.settings.sites import SiteConfig
from gateway.settings.words import Resume


@attrs.frozen
class Access:
    """What the holder of a key may do.

    Args:
        origins: whose pages may call with it. None at all: the key is for servers,
            and what an Origin header says is nobody's business.
        resume: whether its streams can be picked up again, and whether they go on
            meanwhile.
        buffered: whether its streams are given as one body.
        people: which of its users' identifiers records may name, as hashes.
    """

    origins: Origins = NOBODY
    resume: Resume = "off"
    buffered: bool = False
    people: frozenset[str] = frozenset()


SERVERS_ONLY = Access()


def access_of(site: SiteConfig) -> Access:
    """What the keys of a site may do."""
    return Access(
        origins=Origins.of(site.allowed_origins),
        resume=site.resume,
        buffered=site.buffered,
        people=frozenset(site.pseudonyms),
    )
