"""Checks of what clients send, with errors in OpenAI's words and codes. Pure.

Values are never repeated in messages: they are prompts, and messages reach logs.
"""

from wire.dialect import ClientError

N_MAX = 128
"""OpenAI's own bound on choices; each is a hold of its own in the ledger."""

STOP_MAX = 16
"""OpenAI takes 4, others up to 16; more is refused upstream anyway."""

TOKENS_MAX = 2**31 - 1
"""No model answers longer; above it is a mistake that would overflow a price."""


def model(name: str) -> None:
    """Raise ClientError for an empty model name."""
    if not name:
        raise ClientError("You must provide a model parameter.", param="model")


def missing(path: str) -> ClientError:
    """The error for a parameter that must be there."""
    return ClientError(
        f"Missing required parameter: '{path}'.",
        param=path,
        code="missing_required_parameter",
    )


def empty(path: str) -> ClientError:
    """The error for an empty array."""
    return ClientError(
        f"Invalid '{path}': empty array. Expected an array with minimum length 1, but "
        "got an empty array instead.",
        param=path,
        code="empty_array",
    )


def unsupported(path: str, why: str) -> ClientError:
    """The error for a field that the provider of this model cannot serve."""
    return ClientError(
        f"Unsupported parameter: '{path}' {why}",
        param=path,
        code="unsupported_parameter",
    )


def integer(value: int, path: str, low: int, high: int) -> int:
    """The value, when it is within its bounds. Raises ClientError."""
    if low <= value <= high:
        return value
    raise _out_of_bounds("integer", path, value < low, low, high)


def decimal(value: float | None, path: str, low: float, high: float) -> float | None:
    """The value, when it is absent or within its bounds. Raises ClientError."""
    if value is None or low <= value <= high:
        return value
    raise _out_of_bounds("decimal", path, value < low, low, high)


def _out_of_bounds(
    kind: str, path: str, below: bool, low: float, high: float
) -> ClientError:
    which = "below minimum" if below else "above maximum"
    bound = f">= {low}" if below else f"<= {high}"
    return ClientError(
        f"Invalid '{path}': {kind} {which} value. Expected a value {bound}.",
        param=path,
        code=f"{kind}_{'below_min' if below else 'above_max'}_value",
    )


def bound(preferred: int | None, legacy: int | None) -> int | None:
    """The bound on the answer, from either field. Raises ClientError."""
    if preferred is not None:
        return integer(preferred, "max_completion_tokens", 1, TOKENS_MAX)
    if legacy is not None:
        return integer(legacy, "max_tokens", 1, TOKENS_MAX)
    return None


def stops(given: str | list[str] | None) -> tuple[str, ...]:
    """Stop sequences, one or many. Raises ClientError."""
    found = (given,) if isinstance(given, str) else tuple(given or ())
    if len(found) > STOP_MAX:
        raise ClientError(
            f"Invalid 'stop': array too long. Expected at most {STOP_MAX} strings.",
            param="stop",
            code="array_above_max_length",
        )
    return found
