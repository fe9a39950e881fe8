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
    with pytest.raises(
        ValueError, match=r"x of shape \(N, 3\); got \(3,\). Add the batch dimension: x.unsqueeze"
    ):
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
        with pytest.raises(
            ValueError, match="expects bound as a finite number that is at least 0; got"
        ):
            checks.check_number("Spline", "bound", bad, least=0)
    with pytest.raises(ValueError, match="above 0"):
        checks.check_number("Spline", "bound", 0.0, least=0, open_ends=True)
    with pytest.raises(TypeError, match="as a number"):
        checks.check_number("Spline", "bound", "3")


def test_names_show_their_escape_codes():
    assert checks.printable("a b/é.png") == "a b/é.png"
    assert checks.printable("\x1b[2J\n\udcff\u202e") == "\\x1b[2J\\n\\udcff\\u202e"


def test_check_batch_refuses_one_datum_and_an_empty_batch():
    assert checks.check_batch("VAE", "x", torch.zeros(5, 3), (3,)).shape == (5, 3)
    for shape, message in [
        ((3,), r"\(N, 3\); got \(3,\). Add the batch dimension"),
        ((0, 3), r"N of at least 1; got \(0, 3\). Leave"),
        ((2, 5, 3), r"got \(2, 5, 3\). Flatten the batch: x.flatten\(0, 1\)"),
    ]:
        with pytest.raises(ValueError, match=message):
            checks.check_batch("VAE", "x", torch.zeros(shape), (3,))


def test_check_mask_takes_zeros_and_ones_of_any_type():
    for mask in (torch.tensor([True, False]), torch.tensor([1, 0]), torch.tensor([1.0, 0.0])):
        assert checks.check_mask("sample", "mask", mask).tolist() == [True, False]
    for bad in (0.5, math.nan):
        with pytest.raises(ValueError, match="sample expects mask with the values True and False"):
            checks.check_mask("sample", "mask", torch.tensor([1.0, bad]))


def test_check_broadcast_returns_the_common_shape():
    assert checks.check_broadcast("d", "value", (3, 1), "x", (5,)) == (3, 5)
    with pytest.raises(
        ValueError,
        match=r"value with a batch shape that broadcasts with the batch shape of x, \(5,\); got \(3,\)",
    ):
        checks.check_broadcast("d", "value", (3,), "x", (5,))


def test_check_numbers_refuses_a_tensor_that_holds_none():
    with pytest.raises(TypeError, match="expects x with values; got a meta tensor"):
        checks.check_finite("Glow", "x", torch.zeros(3, device="meta"), "Move it")


@pytest.mark.parametrize(
    ("shape", "expected"), [(3, (3,)), (np.int64(3), (3,)), ([1, 4, 4], (1, 4, 4))]
)
def test_check_shape_takes_the_size_of_a_vector_too(shape, expected):
    assert checks.check_shape("NADE", "shape", shape) == expected


@pytest.mark.parametrize("shape", [(), (3, 0), (2**13, 2**13)])
def test_check_shape_refuses_no_elements_and_too_many(shape):
    with pytest.raises(ValueError, match=r"NADE expects .*shape"):
        checks.check_shape("NADE", "shape", shape)


def test_check_kernel_share_and_seed():
    assert checks.check_kernel("Conv", "kernel_size", np.int64(3)) == 3
    assert checks.check_share("Dropout", "p", 0) == 0.0
    assert checks.check_seed("MADE", -1) == -1
    for check in (
        lambda: checks.check_kernel("Conv", "kernel_size", 4),
        lambda: checks.check_share("Dropout", "p", 1.0),
        lambda: checks.check_seed("MADE", 2**70),
    ):
        with pytest.raises(ValueError, match=r"expects .*; got"):
            check()


def test_check_elements_bounds_the_product_of_sizes():
    checks.check_elements("NADE", 2**16, 2**17)
    with pytest.raises(
        ValueError,
        match=r"NADE expects a weight of at most 8589934592 elements; got 65536 x 131073 =",
    ):
        checks.check_elements("NADE", 2**16, 2**17 + 1)
