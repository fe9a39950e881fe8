"""Checks of the arguments that are passed by users.

All errors have the same form: "X expects ...; got ... . Do this."
"""

from pyro_exact.checks.numbers import check_number, check_share
from pyro_exact.checks.sizes import (
    LARGEST_COUNT,
    LARGEST_SIZE,
    LARGEST_WEIGHT,
    check_elements,
    check_kernel,
    check_seed,
    check_shape,
    check_size,
    check_sizes,
)
from pyro_exact.checks.tensors import (
    check_batch,
    check_broadcast,
    check_event,
    check_finite,
    check_floating,
    check_mask,
    check_numbers,
    check_tensor,
)
from pyro_exact.checks.text import check_choice, check_path, printable, shown

__all__ = [
    "LARGEST_COUNT",
    "LARGEST_SIZE",
    "LARGEST_WEIGHT",
    "check_batch",
    "check_broadcast",
    "check_choice",
    "check_elements",
    "check_event",
    "check_finite",
    "check_floating",
    "check_kernel",
    "check_mask",
    "check_number",
    "check_numbers",
    "check_path",
    "check_seed",
    "check_shape",
    "check_share",
    "check_size",
    "check_sizes",
    "check_tensor",
    "printable",
    "shown",
]
