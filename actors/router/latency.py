"""How fast a deployment is, and how fast it will be. Pure: time is an argument.

A prediction for one request is

    first content   median of its prompt-size bucket   x spread x pace x load
    each token      median of the bucket               x spread x pace x load

- The buckets hold what was seen, with the load of that moment taken out, and nothing
  of brownouts: they must not become what is usual, or their end would be no news. A
  p95 over all sizes mixed is useless: long prompts are slow everywhere.
- `spread` is the p95 of what was seen relative to its bucket's median, over all
  buckets: a bucket with ten values has a median, but no 95th percentile.
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

HALF_LIFE_S: Final = 3600.0  # Long enough for medians of rare sizes; pace is for news.
PACE_STEP: Final = 0.35  # Three calls say what is the matter.
PACE_QUIET: Final = 0.25  # Up to a quarter (in logarithms) it is noise, not news.
PACE_FORGET_S: Final = 120.0  # Half-life of bad (or good) news that nobody confirms.
PACE_LOG_MAX: Final = 4.0  # A factor of 55: worse than that is an outage.
PACE_RATIO_MIN: Final = exp(-PACE_LOG_MAX)
USUAL_AFTER_S: Final = 43_200.0  # Half a day of slowness is no brownout any more.
SLOPE_HALF_LIFE_CALLS: Final = 200.0
SLOPE_MAX: Final = 0.5
SLOPE_RATIO_MAX: Final = 4.0  # One straggler must not bend the line.
SURE_WEIGHT: Final = 3.0  # So many recent calls make a bucket's own numbers count.

SPREAD_EACH: Final = 8  # And it moves too slowly to be looked at with each call.

# Without any knowledge: a middling server. Facts of the catalogue go before this.
FIRST_CONTENT_S: Final = 0.5
PREFILL_TOKENS_PER_S: Final = 5000.0
PER_TOKEN_S: Final = 0.02
SPREAD: Final = 1.6  # p95 of a deployment over its median, until it is known.
SPREAD_WEIGHT: Final = 20.0  # So many calls make a p95.


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
        "_firsts",
        "_slope_nn",
        "_slope_ny",
        "_tokens",
        "_well_at",
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
        # The middle of a bucket is three quarters of its largest prompt.
        self._firsts = _Measure(
            [first + bucket_tokens(b) * 0.75 / prefill for b in range(BUCKETS)]
        )
        self._tokens = _Measure([token] * BUCKETS)
        self.first_p95_s = self._firsts.p95_s
        self.token_p95_s = self._tokens.p95_s
        self.pace_log = 0.0
        self.pace_at = 0.0
        self.slope = 0.0
        self._slope_ny = 0.0
        self._slope_nn = 0.0
        self._well_at = 0.0
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
        if -PACE_QUIET <= log_pace <= PACE_QUIET:
            return 1.0
        log_pace *= exp((self.pace_at - now) / PACE_FORGET_S)
        if log_pace > PACE_QUIET:
            return exp(log_pace - PACE_QUIET)
        return exp(log_pace + PACE_QUIET) if log_pace < -PACE_QUIET else 1.0

    def first_content(
        self, tokens: int, in_flight: int, seconds: float, now: float
    ) -> None:
        """The first content of a call with so many (uncached) prompt tokens came.

        `in_flight` is the number of other calls when it was sent.
        """
        bucket = bucket_of(tokens)
        if self._firsts.knows(bucket):
            # Against a guess from another size it would be no news of its pace.
            ratio = seconds / self._firsts.p50_s[bucket]
            self._learn_pace(ratio / (1.0 + self.slope * in_flight), now)
            self._learn_slope(ratio, in_flight)
        if not self._is_ill(now) or not self._firsts.knows(bucket):
            self._firsts.add(bucket, seconds / (1.0 + self.slope * in_flight), now)
        self.calls += 1
        self.heard_at = now

    def tokens(
        self, prompt_tokens: int, in_flight: int, per_token_s: float, now: float
    ) -> None:
        """An answer ended: so long for each token after the first."""
        bucket = bucket_of(prompt_tokens)
        if self.calls > SURE_WEIGHT and self._tokens.knows(bucket):
            self._learn_slope(per_token_s / self._tokens.p50_s[bucket], in_flight)
        if not self._is_ill(now) or not self._tokens.knows(bucket):
            self._tokens.add(bucket, per_token_s / (1.0 + self.slope * in_flight), now)
        self.heard_at = now

    def whole(
        self, tokens: int, output: int, in_flight: int, seconds: float, now: float
    ) -> None:
        """An answer came in one piece: its parts are as slow as the whole."""
        bucket = bucket_of(tokens)
        first_s, token_s = self._firsts.p50_s[bucket], self._tokens.p50_s[bucket]
        ratio = seconds / (first_s + output * token_s)
        self.first_content(tokens, in_flight, ratio * first_s, now)
        if output > 1:
            self.tokens(tokens, in_flight, ratio * token_s, now)

    def timed_out(self, tokens: int, waited_s: float, now: float) -> None:
        """No content came in so long: at least that slow, for the pace alone."""
        self._learn_pace(
            max(1.0, waited_s / self._firsts.p50_s[bucket_of(tokens)]), now
        )
        self.heard_at = now

    def renewed(self) -> None:
        """It came back from an outage: what was bad news is old news."""
        self.pace_log = min(0.0, self.pace_log)

    def _is_ill(self, now: float) -> bool:
        """Whether it is so slow that its medians should not learn from it.

        Half a day later that is what is usual.
        """
        if self.pace_log <= 2 * PACE_QUIET:
            self._well_at = now
        return now - self._well_at < USUAL_AFTER_S and self._well_at < now

    def _learn_pace(self, ratio: float, now: float) -> None:
        faded = self.pace_log * exp((self.pace_at - now) / PACE_FORGET_S)
        # Clocks are coarse: an answer in no time is as quick as one can be.
        seen = min(log(max(ratio, PACE_RATIO_MIN)), PACE_LOG_MAX)
        # A slow one may be an outlier; a quick one from a slow deployment is none.
        quick = faded > 2 * PACE_QUIET and seen < faded
        step = 2 * PACE_STEP if quick else PACE_STEP
        self.pace_log = faded + step * (seen - faded)
        self.pace_at = now

    def _learn_slope(self, ratio: float, in_flight: int) -> None:
        """A line through 1 at no load, by decayed least squares."""
        if abs(self.pace_log) > 2 * PACE_QUIET:
            return  # A brownout is no effect of load.
        keep = 1.0 - 1.0 / SLOPE_HALF_LIFE_CALLS
        rise = min(ratio, SLOPE_RATIO_MAX) - 1.0
        self._slope_ny = self._slope_ny * keep + in_flight * rise
        self._slope_nn = self._slope_nn * keep + in_flight * in_flight
        if self._slope_nn > 0:
            slope = self._slope_ny / self._slope_nn
            self.slope = min(max(slope, 0.0), SLOPE_MAX)


class _Measure:
    """One kind of duration by prompt size: medians by bucket, one spread for all."""

    __slots__ = (
        "_prior_s",
        "_ratios",
        "_ratios_seen",
        "_seen",
        "_sketches",
        "p50_s",
        "p95_s",
        "spread",
    )

    def __init__(self, prior_s: list[float]) -> None:
        self._prior_s = prior_s
        self._sketches: list[Sketch | None] = [None] * BUCKETS
        self._ratios: Sketch | None = None
        self._ratios_seen = 0
        self._seen = [0] * BUCKETS
        self.spread = SPREAD
        self.p50_s = list(prior_s)
        self.p95_s = [SPREAD * value for value in prior_s]

    def knows(self, bucket: int) -> bool:
        """Whether enough of this size was seen, and it is no guess any more."""
        return self._seen[bucket] >= SURE_WEIGHT

    def add(self, bucket: int, seconds: float, now: float) -> None:
        """Take one value, and bring the plain lists up to date."""
        sketch = self._sketches[bucket]
        fresh = sketch is None
        if sketch is None:
            sketch = self._sketches[bucket] = Sketch(HALF_LIFE_S, now)
        ratios = self._ratios
        if ratios is None:
            ratios = self._ratios = Sketch(HALF_LIFE_S, now)
        elif not fresh:
            # Ratios are numbers around one; the sketch takes any positive number.
            ratios.add(seconds / self.p50_s[bucket], now)
            self._ratios_seen += 1
            if self._ratios_seen < SPREAD_WEIGHT or not self._ratios_seen % SPREAD_EACH:
                self._learn_spread(ratios, now)
        sketch.add(seconds, now)
        self._seen[bucket] += 1
        median = sketch.quantile(0.5)
        assert median is not None
        share = min(1.0, sketch.weight(now) / SURE_WEIGHT)
        p50, p95, spread = self.p50_s, self.p95_s, self.spread
        p50[bucket] += share * (median - p50[bucket])
        p95[bucket] = p50[bucket] * spread
        if fresh:
            self._fill()

    def _learn_spread(self, ratios: Sketch, now: float) -> None:
        high = ratios.quantile(0.95)
        assert high is not None
        share = min(1.0, ratios.weight(now) / SPREAD_WEIGHT)
        spread = SPREAD + share * (high - SPREAD)
        # A hundredth more or less is not worth a new list.
        if abs(spread - self.spread) > 0.01 * self.spread:
            self.spread = spread
            self.p95_s[:] = [value * spread for value in self.p50_s]

    def _fill(self) -> None:
        """Guess the buckets without values from the nearest that has some."""
        seen = [b for b, sketch in enumerate(self._sketches) if sketch is not None]
        for bucket in range(BUCKETS):
            if self._sketches[bucket] is None:
                near = min((abs(one - bucket), one) for one in seen)[1]
                scale = self._prior_s[bucket] / self._prior_s[near]
                self.p50_s[bucket] = self.p50_s[near] * scale
                self.p95_s[bucket] = self.p50_s[bucket] * self.spread
