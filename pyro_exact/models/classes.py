"""Classes of data as one-hot contexts."""

import torch
from torch import Tensor
from torch.nn import functional as F

from pyro_exact.checks import check_numbers, check_tensor


def one_hot(label: Tensor, classes: int, owner: str) -> Tensor:
    """Return the one-hot vector of each label, (*label.shape, classes).

    Raises:
        TypeError: If the labels are not a tensor.
        ValueError: If the labels are not integers in {0, ..., classes - 1}.
    """
    check_numbers(owner, "label", check_tensor(owner, "label", label))
    if label.is_floating_point():
        raise ValueError(
            f"This {owner} expects integer classes from 0 to {classes - 1}; got {label.dtype}. Use "
            "label.long()."
        )

    wrong = label[(label < 0) | (label >= classes)]
    if len(wrong):
        raise ValueError(
            f"This {owner} expects integer classes from 0 to {classes - 1}; got {wrong[0].item()}, "
            f"and {len(wrong)} of {label.numel()} labels are out of range. Number the classes 0, "
            "1, ..."
        )
    return F.one_hot(label.long(), classes).to(torch.get_default_dtype())
