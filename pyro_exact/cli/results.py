"""The result record that is written by a command."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pyro_exact.data import Dataset
    from pyro_exact.models import GenerativeModel
    from pyro_exact.train import Evaluation, RunRecord


def result_of(
    run: RunRecord,
    model: GenerativeModel,
    data: Dataset,
    split: str,
    score: Evaluation,
    note: str = "",
) -> dict[str, Any]:
    """Return the record of a score; see `RunRecord.result`.

    Args:
        run: The record of the run that trained the model.
        model: The model.
        data: The data set.
        split: The split that was scored.
        score: The score.
        note: A remark on the data.
    """
    about: dict[str, Any] = {"name": data.name, "split": split, "images": score.images}
    if note:
        about["note"] = note

    parameters = sum(p.numel() for p in model.parameters() if p.requires_grad)
    return run.result(about, score, parameters)
