"""The configuration of `stagedoor demo`: whatever keys are at hand, else no key at all.

Pure: the environment comes as an argument, and only names of variables are kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import attrs

from gateway.settings.config import (
    Candidate,
    Config,
    ModelConfig,
)
from gateway.settings.keys import SiteKey
from gateway.settings.providers import ProviderConfig
from gateway.settings.server import ServerConfig
from gateway.settings.sites import SiteConfig
from gateway.settings.values import Bind

DEMO_MODEL: Final = "demo"
SIMULATED_MODEL: Final = "simulated"
# A demo left running, or found by a neighbour, spends little: a page an answer.
OUTPUT_TOKENS_MAX: Final = 1024
IN_FLIGHT_MAX: Final = 16


@attrs.frozen
class Account:
    """A provider that a developer may have a key of. All speak chat completions."""

    name: str
    key_env: str
    base_url: str
    model: str  # Small and cheap: this is for trying things out.


ACCOUNTS: Final = (
    Account("openai", "OPENAI_API_KEY", "https://api.openai.com/v1", "gpt-5-mini"),
    Account(
        "anthropic",
        "ANTHROPIC_API_KEY",
        "https://api.anthropic.com/v1",
        "claude-haiku-4-5",
    ),
    Account(
        "gemini",
        "GEMINI_API_KEY",
        "https://generativelanguage.googleapis.com/v1beta/openai",
        "gemini-2.5-flash",
    ),
    Account(
        "mistral",
        "MISTRAL_API_KEY",
        "https://api.mistral.ai/v1",
        "mistral-small-latest",
    ),
    Account(
        "deepseek", "DEEPSEEK_API_KEY", "https://api.deepseek.com/v1", "deepseek-chat"
    ),
    Account(
        "groq",
        "GROQ_API_KEY",
        "https://api.groq.com/openai/v1",
        "llama-3.1-8b-instant",
    ),
    Account(
        "openrouter",
        "OPENROUTER_API_KEY",
        "https://openrouter.ai/api/v1",
        "openrouter/auto",
    ),
)


def demo_config(
    env: Mapping[str, str],
    *,
    key: str,
    bind: Bind | None = None,
    state_dir: Path = Path("state"),
) -> Config:
    """What the demo serves, to whoever presents `key`.

    The model `demo` goes to every account with a key, in the order of ACCOUNTS; where
    there is none, to the simulated model, which is also there under its own name.
    """
    accounts = [account for account in ACCOUNTS if env.get(account.key_env)]
    simulated = Candidate("simulated", SIMULATED_MODEL)
    real = tuple(Candidate(account.name, account.model) for account in accounts)
    return Config(
        server=ServerConfig(bind=bind or ServerConfig().bind, state_dir=state_dir),
        sites=(
            SiteConfig(
                name="demo",
                keys=(SiteKey.of(key),),
                in_flight_max=IN_FLIGHT_MAX,
                output_tokens_max=OUTPUT_TOKENS_MAX,
            ),
        ),
        providers=(
            *(
                ProviderConfig(
                    name=account.name,
                    kind="openai",
                    base_url=account.base_url,
                    key_env=account.key_env,
                    models=(account.model,),
                )
                for account in accounts
            ),
            ProviderConfig(
                name="simulated", kind="simulated", models=(SIMULATED_MODEL,)
            ),
        ),
        models=(
            ModelConfig(name=DEMO_MODEL, route=real or (simulated,)),
            *(
                ModelConfig(name=candidate.model, route=(candidate,))
                for candidate in real
            ),
            ModelConfig(name=SIMULATED_MODEL, route=(simulated,)),
        ),
    )
