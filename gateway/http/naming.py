"""Names that a client gives: of a model, and of its use of the gateway.

Owns: how long and of what letters they may be. Both go into records and are shown to
operators: names, not texts.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from wire.dialect import ClientError

FEATURE_HEADER: Final = "x-stagedoor-feature"
_FEATURE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,63}")

MODEL_CHARS_MAX: Final = 512  # Names of fine-tuned and Bedrock models have some 150.


def feature_of(headers: Mapping[str, str]) -> str:
    """What the client calls this use of the gateway. Raises ClientError.

    It becomes a row of usage and is shown to operators: a name, not a text.
    """
    feature = headers.get(FEATURE_HEADER, "")
    if feature and not _FEATURE.fullmatch(feature):
        raise ClientError(
            f"Invalid '{FEATURE_HEADER}': a name of at most 64 letters, digits and "
            ". _ : / - is taken.",
            param=FEATURE_HEADER,
            code="invalid_value",
        )
    return feature


def check_name(model: str) -> None:
    """It goes into the record and into errors. Raises ClientError."""
    if len(model) > MODEL_CHARS_MAX:
        raise ClientError(
            f"Invalid 'model': {len(model)} characters are no name of a model; the "
            f"longest have {MODEL_CHARS_MAX}.",
            param="model",
            code="model_not_found",
            status=404,
        )
