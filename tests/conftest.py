"""What all tests share: property tests that run alike everywhere, without a clock.

A busy machine is no failure: neither a deadline nor the health check for slow data may
end a test. `HYPOTHESIS_PROFILE=search` looks further, with fresh examples.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

settings.register_profile(
    "same",
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile(
    "search",
    deadline=None,
    max_examples=1000,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))
