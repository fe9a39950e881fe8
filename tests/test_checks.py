"""Checks of arguments: what passes, and that an error says what was expected, what came, and what to do."""

import math

import numpy as np
import pytest
import torch

from pyro_exact import checks


@pytest.mark.parametrize("value", [np.zeros(3), [1.0], None, 1.0, "a"])
def test_check_tensor_refuses_other_objects(value):
    with pytest.raises(TypeError, match=r"Glow expects x as a tensor; got .*\. \w.*\."):
        checks.check_tensor("Glow", "x", value)


@pytest.mark.parametrize("value", [torch.zeros(2, dtype=torch.cfloat), torch.eye(2).to_sparse()])
def test_check_tensor_refuses_complex_and_sparse_tensors(value):
    with pytest.raises(TypeError, match=r"Glow expects x .*; got"):
        checks.check_tensor("Glow", "x", value)


def test_check_floating_refuses_integers():
    assert checks.check_floating("Glow", "x", torch.zeros(2)).dtype == torch.float32
    with pytest.raises(TypeError, match=r"got torch.int64. Convert it, for example with x.float()"):
        checks.check_floating("Glow", "x", torch.zeros(2, dtype=torch.long))


def test_check_event_returns_the_batch_shape():
    assert checks.check_event("Glow", "x", torch.zeros(5, 1, 4, 4), (1, 4, 4)) == (5,)
    assert checks.check_event("Glow", "x", torch.zeros(1, 4, 4), (1, 4, 4)) == ()


@pytest.mark.parametrize("shape", [(4, 4), (5, 1, 4, 3), ()])
def test_check_event_refuses_other_shapes(shape):
    with pytest.raises(ValueError, match=r"expects x of shape \(\*batch, 1, 4, 4\); got \("):
        checks.check_event("Glow", "x", torch.zeros(shape), (1, 4, 4))


def test_check_event_asks_for_the_batch_dimension():
    with pytest.raises(ValueError, match=r"x of shape \(N, 3\); got \(3,\). Add the batch dimension: x.unsqueeze"):
        checks.check_event("Density", "x", torch.zeros(3), (3,), batch_dims=1)


@pytest.mark.parametrize(("bad", "kind"), [(math.nan, "NaN"), (math.inf, "infinite")])
def test_check_finite_counts_the_elements(bad, kind):
    assert checks.check_finite("Glow", "the image", torch.zeros(3), "Train it again") is not None
    with pytest.raises(ValueError, match=rf"got 1 of 3 elements {kind}. Train it again\."):
        checks.check_finite("Glow", "the image", torch.tensor([0.0, bad, 1.0]), "Train it again")


@pytest.mark.parametrize("size", [3, np.int64(3), torch.tensor(3)])
def test_check_size_takes_every_integer_type(size):
    found = checks.check_size("Glow", "width", size)
    assert (type(found), found) == (int, 3)


@pytest.mark.parametrize("size", [0, -1, 10**9])
def test_check_size_refuses_sizes_out_of_range(size):
    with pytest.raises(ValueError, match=r"Glow expects width from 1 to \d+; got"):
        checks.check_size("Glow", "width", size)


@pytest.mark.parametrize("size", [1.0, math.nan, "3", None, True])
def test_check_size_refuses_other_types(size):
    with pytest.raises(TypeError, match="Glow expects width as an integer; got"):
        checks.check_size("Glow", "width", size)


def test_check_sizes_returns_a_tuple_of_integers():
    assert checks.check_sizes("Glow", "shape", np.array([1, 4, 4]), length=3) == (1, 4, 4)
    with pytest.raises(ValueError, match="expects 3 sizes in shape"):
        checks.check_sizes("Glow", "shape", (4, 4), length=3)
    with pytest.raises(TypeError, match="sequence of integers"):
        checks.check_sizes("Glow", "shape", 4)


def test_check_number_refuses_what_is_not_finite_or_out_of_range():
    assert checks.check_number("Spline", "bound", np.float32(3), least=0) == 3.0
    for bad in (math.nan, math.inf, -1.0):
        with pytest.raises(ValueError, match="expects bound as a finite number that is at least 0; got"):
            checks.check_number("Spline", "bound", bad, least=0)
    with pytest.raises(ValueError, match="above 0"):
        checks.check_number("Spline", "bound", 0.0, least=0, open_ends=True)
    with pytest.raises(TypeError, match="as a number"):
        checks.check_number("Spline", "bound", "3")


def test_names_are_shown_with_their_escape_codes():
    assert checks.printable("a b/é.png") == "a b/é.png"
    assert checks.printable("\x1b[2J\n\udcff\u202e") == "\\x1b[2J\\n\\udcff\\u202e"
