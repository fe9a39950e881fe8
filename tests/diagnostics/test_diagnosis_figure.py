"""The page of a diagnosis."""

import dataclasses

import matplotlib.image
import pytest
import torch
from helpers.vaes import bits, linear, marginal, small, use_exact_posterior

from pyro_exact import flows
from pyro_exact.diagnostics import diagnose, inference_data, save_page

pytestmark = pytest.mark.usefixtures("double")


@pytest.fixture
def known():
    """A linear Gaussian VAE with the best diagonal posterior, 50 data, and their log-likelihood."""
    model = linear()
    use_exact_posterior(model)
    x = marginal(model).sample((50,))
    return model, x, marginal(model).log_prob(x)


@pytest.fixture
def found():
    return diagnose(small(flows.planar(2, 3, 6)), bits(12), samples=200)


def test_diagnosis_figure_is_a_picture(found, tmp_path):
    save_page(found, inference_data(found), 2, tmp_path / "page.png", "a title")
    image = matplotlib.image.imread(tmp_path / "page.png")
    assert min(image.shape[:2]) >= 500
    assert image[..., :3].std() > 0.05


def test_diagnosis_figure_says_which_number_a_unit_has(found, tmp_path, monkeypatch):
    """Behind a flow no unit has a divergence of its own, but an activity; in closed form each has one."""
    titles = []
    monkeypatch.setattr(
        "pyro_exact.diagnostics.diagnosis_figure._titled", lambda axis, title: titles.append(title)
    )
    save_page(found, inference_data(found), 2, tmp_path / "page.png")
    plain = diagnose(small(), bits(12), samples=200)
    save_page(plain, inference_data(plain), 2, tmp_path / "page.png")
    of_units = [title for title in titles if "KL" in title]
    assert of_units == [
        f"activity of the units; KL of all from the prior: {found.kl:.2f} nats",
        f"KL from the prior: {plain.kl:.2f} nats",
    ]


def test_diagnosis_figure_has_words_that_fit(found, tmp_path, monkeypatch):
    """No text ends outside the page, and no title of a panel in another panel."""
    from matplotlib.figure import Figure

    figures = []
    save = Figure.savefig
    monkeypatch.setattr(
        Figure, "savefig", lambda self, *a, **k: (figures.append(self), save(self, *a, **k))
    )
    save_page(found, inference_data(found), 2, tmp_path / "page.png", "a long title " * 20)
    (figure,) = figures
    page = figure.bbox
    texts = [figure._suptitle, *(axis.title for axis in figure.axes)]
    boxes = [text.get_window_extent() for text in texts if text.get_text()]
    assert len(boxes) == 7
    for box in boxes:
        assert page.x0 <= box.x0
        assert box.x1 <= page.x1
        assert box.y1 <= page.y1
    for i, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[i + 1 :])


def test_diagnosis_figure_refuses_what_is_not_finite(found, tmp_path):
    data = inference_data(found)
    level = dataclasses.replace(found.levels["z"], activity=torch.full((2,), torch.nan))
    bad = [
        ({"levels": {"z": level}}, "the activity of z to be finite; got 2 of 2 elements NaN"),
        ({"bounds": {1: torch.tensor([-torch.inf] * 12)}}, "the bound of 1 samples to be finite"),
        (
            {"reconstructed": found.reconstructed + 0.5},
            "levels from 0 to 1; got values from 0 to 1.5",
        ),
    ]
    for change, message in bad:
        with pytest.raises(ValueError, match=message):
            save_page(dataclasses.replace(found, **change), data, 2, tmp_path / "page.png")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("channels", [2, 4])
def test_diagnosis_figure_of_images_of_any_channels(found, tmp_path, channels):
    shape = (12, channels, 4, 4)
    change = {"data": bits(12, shape[1:]), "reconstructed": bits(12, shape[1:])}
    save_page(dataclasses.replace(found, **change), inference_data(found), 2, tmp_path / "page.png")
    assert (tmp_path / "page.png").exists()


def test_diagnosis_figure_of_vectors(known, tmp_path):
    found = diagnose(known[0], known[1], samples=200)
    save_page(found, inference_data(found), 2, tmp_path / "page.png")
    assert (tmp_path / "page.png").exists()
