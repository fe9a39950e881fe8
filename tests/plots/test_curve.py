"""Curves."""

import pytest
from matplotlib.image import imread

from pyro_exact.plots import save_curve

CURVE = {
    "train": [[10, 1.0, 5.0], [20, 2.0, 4.0], [30, 3.0, 3.9]],
    "valid": [[15, 1.5, 4.5], [30, 3.0, 4.2]],
}


@pytest.mark.parametrize(
    "curve", [CURVE, {"train": [], "valid": CURVE["valid"]}, {"train": [], "valid": []}]
)
@pytest.mark.parametrize("anchors", [None, {"a code": 5.0}])
def test_curve_becomes_a_picture(tmp_path, curve, anchors):
    save_curve(curve, tmp_path / "curve.png", anchors)
    assert imread(tmp_path / "curve.png").std() > 0


def test_curve_refuses_what_is_no_number(tmp_path):
    with pytest.raises(ValueError, match="the curve valid to be finite; got 1 of 2 elements NaN"):
        save_curve(
            {"train": [], "valid": [[1, 1.0, 2.0], [2, 2.0, float("nan")]]}, tmp_path / "p.png"
        )
