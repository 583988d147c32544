"""How fast a deployment is, and how fast it will be. Pure: time is an argument.

A prediction for one request is

    first content   p95 of its prompt-size bucket   x pace x load
    each token      p95 of the bucket               x pace x load

- The buckets hold what was seen, with the load of that moment taken out: they change
  in minutes. A p95 over all sizes mixed is useless: long prompts are slow everywhere.
- `pace` is the ratio of the last calls to the buckets' medians, whatever their size:
  a brownout shows in the next short call and counts for the long ones at once.
- `load` grows by `slope` with each call in flight. The slope is learned: one server
  slows down with the fourth call, another with the four hundredth.
- A call that waits for longer than was predicted is news before it ends: `overdue`.

Owns: the numbers of one deployment. Never: which deployment is better (score.py).
"""

from __future__ import annotations

from math import exp, log
from typing import Final

from actors.router.sketch import Sketch

BUCKET_FIRST_TOKENS: Final = 256
BUCKETS: Final = 13  # Powers of two from 256 to 1M tokens.
_SHIFT: Final = 7  # 256.bit_length() - 2: sizes up to 256 are bucket 0.

HALF_LIFE_S: Final = 1200.0  # Long enough for a p95 of rare sizes; pace is for news.
PACE_STEP: Final = 0.35  # Three calls say what is the matter.
PACE_FORGET_S: Final = 120.0  # Half-life of bad (or good) news that nobody confirms.
PACE_LOG_MAX: Final = 4.0  # A factor of 55: worse than that is an outage.
SLOPE_HALF_LIFE_CALLS: Final = 200.0
SLOPE_MAX: Final = 0.5
SLOPE_RATIO_MAX: Final = 4.0  # One straggler must not bend the line.
SURE_WEIGHT: Final = 3.0  # So many recent calls make a bucket's own numbers count.

# Without any knowledge: a middling server. Facts of the catalogue go before this.
FIRST_CONTENT_S: Final = 0.5
PREFILL_TOKENS_PER_S: Final = 5000.0
PER_TOKEN_S: Final = 0.02
P95_OF_MEDIAN: Final = 2.0


def bucket_of(prompt_tokens: int) -> int:
    """The prompt-size bucket."""
    if prompt_tokens <= BUCKET_FIRST_TOKENS:
        return 0
    return min((prompt_tokens - 1).bit_length() - _SHIFT - 1, BUCKETS - 1)


def bucket_tokens(bucket: int) -> int:
    """The largest prompt of a bucket."""
    return BUCKET_FIRST_TOKENS << bucket


class Latency:
    """What is known of one deployment's speed.

    `first_p95_s` and `token_p95_s` are plain lists by bucket, always filled: by what
    was seen in that bucket, else by the nearest bucket that has something, scaled as
    the prior scales, else by the prior.
    """

    __slots__ = (
        "_first_p50",
        "_firsts",
        "_prior_first",
        "_prior_token",
        "_slope_nn",
        "_slope_ny",
        "_token_p50",
        "_tokens",
        "calls",
        "first_p95_s",
        "heard_at",
        "pace_at",
        "pace_log",
        "slope",
        "token_p95_s",
    )

    def __init__(
        self,
        *,
        first_content_s: float | None = None,
        per_token_s: float | None = None,
        prefill_tokens_per_s: float | None = None,
    ) -> None:
        first = FIRST_CONTENT_S if first_content_s is None else first_content_s
        token = PER_TOKEN_S if per_token_s is None else per_token_s
        prefill = prefill_tokens_per_s or PREFILL_TOKENS_PER_S
        self._prior_first = [
            first + bucket_tokens(bucket) * 0.75 / prefill for bucket in range(BUCKETS)
        ]
        self._prior_token = token
        self._firsts: list[Sketch | None] = [None] * BUCKETS
        self._tokens: list[Sketch | None] = [None] * BUCKETS
        self._first_p50 = list(self._prior_first)
        self._token_p50 = [token] * BUCKETS
        self.first_p95_s = [P95_OF_MEDIAN * value for value in self._first_p50]
        self.token_p95_s = [P95_OF_MEDIAN * token] * BUCKETS
        self.pace_log = 0.0
        self.pace_at = 0.0
        self.slope = 0.0
        self._slope_ny = 0.0
        self._slope_nn = 0.0
        self.calls = 0
        self.heard_at = float("-inf")

    def __repr__(self) -> str:
        return (
            f"<Latency calls={self.calls} pace={exp(self.pace_log):.2f} "
            f"slope={self.slope:.3f}>"
        )

    def pace(self, now: float) -> float:
        """How much slower than its medians it is now; news fades."""
        log_pace = self.pace_log
        if not log_pace:
            return 1.0
        return exp(log_pace * exp((self.pace_at - now) / PACE_FORGET_S))

    def first_content(
        self, tokens: int, in_flight: int, seconds: float, now: float
    ) -> None:
        """The first content of a call with so many (uncached) prompt tokens came.

        `in_flight` is the number of other calls when it was sent.
        """
        bucket = bucket_of(tokens)
        plain_s = seconds / (1.0 + self.slope * in_flight)
        known_s = self._first_p50[bucket]
        is_news = self.calls > 0
        sketch = self._firsts[bucket]
        if sketch is None:
            sketch = self._firsts[bucket] = Sketch(HALF_LIFE_S, now)
            known_s = self._first_p50[bucket] if is_news else plain_s
        if is_news:
            self._learn_pace(plain_s / known_s, now)
            self._learn_slope(seconds / known_s, in_flight)
        sketch.add(plain_s, now)
        self.calls += 1
        self.heard_at = now
        _refresh(
            self._firsts,
            bucket,
            self._prior_first,
            self._first_p50,
            self.first_p95_s,
            now=now,
        )

    def tokens(
        self, prompt_tokens: int, in_flight: int, per_token_s: float, now: float
    ) -> None:
        """An answer ended: so long for each token after the first."""
        bucket = bucket_of(prompt_tokens)
        plain_s = per_token_s / (1.0 + self.slope * in_flight)
        sketch = self._tokens[bucket]
        if sketch is None:
            sketch = self._tokens[bucket] = Sketch(HALF_LIFE_S, now)
        elif self.calls > SURE_WEIGHT:
            self._learn_slope(per_token_s / self._token_p50[bucket], in_flight)
        sketch.add(plain_s, now)
        self.heard_at = now
        _refresh(self._tokens, bucket, None, self._token_p50, self.token_p95_s, now=now)

    def timed_out(self, tokens: int, waited_s: float, now: float) -> None:
        """No content came in so long: at least that slow, for the pace alone."""
        self._learn_pace(max(1.0, waited_s / self._first_p50[bucket_of(tokens)]), now)
        self.heard_at = now

    def renewed(self) -> None:
        """It came back from an outage: what was bad news is old news."""
        self.pace_log = min(0.0, self.pace_log)

    def _learn_pace(self, ratio: float, now: float) -> None:
        faded = self.pace_log * exp((self.pace_at - now) / PACE_FORGET_S)
        seen = min(max(log(ratio), -PACE_LOG_MAX), PACE_LOG_MAX)
        # A slow one may be an outlier, a quick one from a slow deployment may not.
        step = PACE_STEP if seen > faded else min(1.0, 2 * PACE_STEP)
        self.pace_log = faded + step * (seen - faded)
        self.pace_at = now

    def _learn_slope(self, ratio: float, in_flight: int) -> None:
        """A line through 1 at no load, by decayed least squares."""
        if abs(self.pace_log) > 0.5:
            return  # A brownout is no effect of load.
        keep = 1.0 - 1.0 / SLOPE_HALF_LIFE_CALLS
        rise = min(ratio, SLOPE_RATIO_MAX) * 1.0 - 1.0
        self._slope_ny = self._slope_ny * keep + in_flight * rise
        self._slope_nn = self._slope_nn * keep + in_flight * in_flight
        if self._slope_nn > 0:
            slope = self._slope_ny / self._slope_nn
            self.slope = min(max(slope, 0.0), SLOPE_MAX)


def _refresh(
    sketches: list[Sketch | None],
    changed: int,
    prior: list[float] | None,
    p50: list[float],
    p95: list[float],
    *,
    now: float,
) -> None:
    """Bring the plain lists up to date after `changed` saw a value."""
    sketch = sketches[changed]
    assert sketch is not None
    found = sketch.quantiles(0.5, 0.95)
    assert found is not None
    weight = sketch.weight(now)
    share = min(1.0, weight / SURE_WEIGHT)
    p50[changed] += share * (found[0] - p50[changed])
    # A handful of values has no 95th percentile: spread its median meanwhile.
    high = max(found[1], found[0] * (1.0 + 1.0 / (1.0 + weight / 10)))
    p95[changed] += share * (high - p95[changed])
    for bucket, other in enumerate(sketches):
        if other is not None:
            continue
        near = _nearest(sketches, bucket)
        scale = 1.0 if prior is None else prior[bucket] / prior[near]
        p50[bucket] = p50[near] * scale
        p95[bucket] = p95[near] * scale


def _nearest(sketches: list[Sketch | None], bucket: int) -> int:
    return min(
        (index for index, sketch in enumerate(sketches) if sketch is not None),
        key=lambda index: abs(index - bucket),
    )
