"""Seeds as numpy takes them."""

from __future__ import annotations

from typing import Any

import numpy as np

from reluxfast.compat.shap.errors import WrongType
from reluxfast.errors import InvalidInput


def check_seed(argument: str, seed: Any) -> None:
    """Refuses what numpy's generator would refuse.

    Raises:
        WrongType: it is no int.
        InvalidInput: it is below 0, or has more than 32 bits.
    """
    if seed is None:
        return
    if not isinstance(seed, (int, np.integer)) or isinstance(seed, bool):
        raise WrongType(argument, "must be an int", repr(seed))
    if not 0 <= seed < 1 << 32:
        raise InvalidInput(argument, "must be between 0 and 2**32 - 1", seed)
