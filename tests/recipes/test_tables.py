"""Models of tables: scores in the units of the table, columns of all kinds, and missing values."""

import math

import numpy as np
import pytest
import torch

from pyro_exact.autoregressive import DeepNADE
from pyro_exact.data import ArrayDataset, Column, make_table
from pyro_exact.models import Density, Mixed, OrderAgnostic
from pyro_exact.recipes import Recipe, load_recipe
from pyro_exact.recipes.models import MODELS

SMALL = {"layers": 1, "hidden_dims": [8]}


def table(scale=1.0, **declared):
    generator = np.random.default_rng(0)
    part = {
        "size": scale * generator.normal(3, 2, 100),
        "share": generator.uniform(0.1, 0.9, 100),
        "wind": generator.uniform(0, 360, 100),
        "city": np.resize(np.array(["Ulm", "Rom"], object), 100),
    }
    return make_table("t", [part, part, part], declared)


KINDS = {
    "share": Column("share", "bounded", 0, 1),
    "wind": Column("wind", "periodic", 0, 360),
    "city": Column("city", "drop"),
}


def built(name, data, **settings):
    recipe = load_recipe(name).changed(settings or SMALL, {})
    torch.manual_seed(0)
    model = recipe.fitted(data).build(data.event_shape, data.levels)
    torch.manual_seed(0)
    model.initialize(data.train)
    return model


@pytest.mark.parametrize("name", ["maf", "nsf", "real_nvp"])
def test_table_scores_change_with_the_units_by_their_logarithm(name):
    metres, centimetres = table(1.0, **KINDS), table(100.0, **KINDS)
    first = built(name, metres).log_weight(metres.train)
    second = built(name, centimetres).log_weight(centimetres.train)
    assert torch.allclose(first - second, torch.tensor(math.log(100)), atol=1e-3)


def test_table_of_real_columns_is_a_flow_and_of_mixed_columns_a_bound():
    real = table(wind=Column("wind"), city=Column("city", "drop"))
    assert isinstance(built("maf", real), Density)
    assert isinstance(built("maf", table()), Mixed)


def test_table_samples_are_within_the_limits():
    data = table(**KINDS)
    drawn = built("maf", data).sample(200)
    assert ((drawn[:, 1] > 0) & (drawn[:, 1] < 1)).all()
    assert ((drawn[:, 2] >= 0) & (drawn[:, 2] <= 360)).all()


def test_table_of_angles_alone_is_a_flow_on_a_torus():
    data = make_table("t", [{"a": np.arange(50.0)}] * 3, {"a": Column("a", "periodic", 0, 360)})
    model = built("nsf", data)
    density = model.distribution().log_prob(torch.arange(0.5, 360)[:, None]).exp()
    assert density.sum().item() == pytest.approx(1, abs=1e-3)


def test_table_columns_survive_a_recipe_of_plain_values():
    recipe = load_recipe("maf").fitted(table(**KINDS))
    again = Recipe.from_dict(recipe.to_dict(), "again")
    assert again == recipe
    assert again.model["columns"][1]["kind"] == "bounded"
    with pytest.raises(ValueError, match="columns: 0 has an unknown key 'colour'"):
        recipe.changed({"columns": [{"name": "a", "colour": 1}]}, {})


def test_table_without_columns_dequantises_levels():
    model = MODELS["maf"].build((3,), 2, **SMALL)
    assert isinstance(model, Mixed)
    assert model.sample(20).unique().tolist() == [0, 1]


def test_table_batch_is_at_most_its_rows():
    assert load_recipe("maf").fitted(table()).training.batch_size == 100


def test_table_with_missing_values_is_refused_by_flows_with_their_count():
    data = make_table("t", [{"a": np.array([0.5, np.nan, 1.5, 2.0])}] * 3)
    with pytest.raises(ValueError, match=r"missing values in columns: a 3\. Fill them in"):
        load_recipe("nsf").fitted(data)


def test_mixture_starts_from_clusters_and_beats_one_normal():
    torch.manual_seed(0)
    x = torch.randn(300, 2) + 8 * torch.randint(3, (300, 1))
    one, three = (MODELS["mixture"].build((2,), None, components=count) for count in (1, 3))
    for model in (one, three):
        model.initialize(x)
    gained = three.log_weight(x).mean() - one.log_weight(x).mean()
    assert gained > 0.5
    assert three.sample(4).shape == (4, 2)


def bits_with_gaps():
    torch.manual_seed(0)
    x = torch.randint(0, 2, (40, 3)).float()
    x[torch.rand_like(x) < 0.3] = torch.nan
    return x


def test_missing_values_are_summed_out():
    net = DeepNADE(3, hidden_dims=(8,), orders=2)
    model = OrderAgnostic(net).eval()
    x = bits_with_gaps()
    model.initialize(x)
    for row in x[:10]:
        values = [[v] if not v.isnan() else [torch.tensor(0.0), torch.tensor(1.0)] for v in row]
        full = torch.cartesian_prod(*(torch.stack(list(v)) for v in values)).view(-1, 3)
        if len(values[0]) * len(values[1]) * len(values[2]) == 2:  # one missing value
            expected = model.log_weight(full).logsumexp(0)
            order = torch.tensor([[i for i, v in enumerate(row) if not v.isnan()]])
            assert model.log_weight(row[None]).isfinite().all()
            assert order.numel() == 2
            assert torch.allclose(model.log_weight(row[None]), expected, atol=0.5)


def test_missing_values_have_no_part_in_the_training_loss():
    model = OrderAgnostic(DeepNADE(3, hidden_dims=(8,)))
    x = bits_with_gaps()
    known = torch.zeros_like(x, dtype=torch.bool)
    estimate = model.estimate(x, known)
    theta = model.net.conditionals(torch.zeros_like(x), known)
    scores = model.net.likelihood.log_prob(theta, x.nan_to_num(nan=0.0))
    assert torch.allclose(estimate, (scores * ~x.isnan()).sum(1))


def test_missing_values_of_a_table_reach_a_network():
    gaps = np.array([0.0, 1, np.nan, 1, 0, 1])
    data = make_table("t", [{"a": gaps, "b": gaps[::-1]}] * 3)
    assert data.levels == 2
    assert load_recipe("deep_nade_mnist").fitted(data).model["columns"][0]["kind"] == "integer"
    assert isinstance(data, ArrayDataset)
