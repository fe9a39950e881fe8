"""Recipes: those that ship, their settings and their errors."""

import functools

import numpy as np
import pytest
import torch
import yaml

from pyro_exact.recipes import Recipe, Training, load_recipe, recipe_names
from pyro_exact.recipes.allowance import rehearse
from pyro_exact.recipes.models import MODELS
from pyro_exact.recipes.parsing import parse_kwargs
from pyro_exact.recipes.tables import TableEntry
from pyro_exact.recipes.training import caution

SHAPES = {
    "binarized_mnist": ((1, 28, 28), 2),
    "cifar10": ((3, 32, 32), 256),
    "digits": ((1, 8, 8), 17),
    "imagenet64_oord": ((3, 64, 64), 256),
    "imagenet32_oord": ((3, 32, 32), 256),
    "mnist": ((1, 28, 28), 256),
    "nltcs.npz": ((16,), 2),
    **dict.fromkeys(["breast_cancer", "bsds300", "gas", "hepmass", "miniboone"], ((5,), None)),
    "power": ((6,), None),
}

SMALL = {
    "conv_draw": {"steps": 2, "latent_channels": 2, "width": 2, "depth": 1},
    "conv_nade": {"width": 2, "hidden_dims": [4, 4], "orders": 1},
    "conv_vae": {
        "latent_dim": 2,
        "width": 2,
        "features": 3,
        "flow_layers": 2,
        "flow_width": 3,
        "flow_rank": 2,
    },
    "deep_nade": {"hidden_dims": [4, 4], "orders": 1},
    "dense_vae": {"latent_dim": 2, "hidden_dims": [4], "flow_layers": 2},
    "diagonal_bilstm": {"width": 2, "depth": 1, "head_width": 2},
    "flow_pp": {
        "width": 4,
        "depth": 1,
        "components": 2,
        "noise": {"width": 4, "depth": 1, "components": 2},
    },
    "gated_pixel_cnn": {"width": 2, "depth": 1, "head_width": 2},
    "glow": {"steps": 1, "width": 4},
    "hierarchical_pixel_vae": {
        "latent_dim": 2,
        "latent_channels": 2,
        "width": 2,
        "features": 3,
        "decoder_width": 3,
        "decoder_depth": 1,
        "head_width": 3,
        "prior_width": 2,
    },
    "iaf_vae": {"latent_channels": 2, "width": 4, "depth": 1},
    "idf": {"scales": 1, "steps": 2, "width": 4, "depth": 1},
    "image_transformer": {"width": 4, "depth": 1, "heads": 1, "head_dim": 2, "dense_width": 4},
    "made": {"hidden_dims": [4]},
    "maf": {"layers": 2, "hidden_dims": [8]},
    "mixture": {"components": 2, "layers": 1, "hidden_dims": [8]},
    "multi_scale_pixel_rnn": {
        "width": 3,
        "depth": 1,
        "head_width": 3,
        "map_width": 2,
        "base_width": 3,
        "base_depth": 1,
        "base_head_width": 3,
    },
    "multiscale_pixel_cnn": {
        "width": 2,
        "depth": 1,
        "head_width": 3,
        "base_width": 3,
        "base_depth": 1,
        "base_head_width": 3,
    },
    "nade": {"width": 4},
    "nice": {},
    "nsf": {"layers": 1, "hidden_dims": [8]},
    "pixel_cnn": {"width": 2, "depth": 1, "head_width": 2},
    "pixel_cnn_pp": {"width": 2, "depth": 1, "components": 1},
    "pixel_vae": {
        "latent_dim": 2,
        "decoder_depth": 2,
        "decoder_width": 2,
        "head_width": 2,
        "width": 2,
        "features": 3,
    },
    "pixel_snail": {"width": 4, "depth": 1, "resnets": 1, "key_dim": 2, "components": 1},
    "real_nvp": {"width": 4, "depth": 1},
    "real_nvp_table": {"layers": 2, "hidden_dims": [4]},
    "row_lstm": {"width": 2, "depth": 1, "head_width": 2},
    "repredicting_multi_scale": {
        "width": 3,
        "depth": 1,
        "head_width": 3,
        "map_width": 2,
        "base_width": 3,
        "base_depth": 1,
        "base_head_width": 3,
    },
    "tarflow": {"layers": 1, "depth": 1, "width": 4, "heads": 1},
}

VALUES = {
    "name": "mine",
    "model": {"name": "glow", "scales": 1, "steps": 2, "width": 4},
    "data": "digits",
    "training": {"steps": 10},
    "paper": {"reference": "A paper", "value": 3.35},
}


def changed(**values):
    return {**VALUES, **values}


@pytest.mark.parametrize("name", recipe_names())
def test_recipe_that_ships_builds_and_survives_a_round_trip(name):
    recipe = load_recipe(name)
    assert Recipe.from_dict(yaml.safe_load(yaml.safe_dump(recipe.to_dict())), "again") == recipe
    small = recipe.changed(SMALL[recipe.model["name"]], {})
    shape, levels = SHAPES[recipe.data]
    model = small.build(shape, levels)
    if model.classes is not None:
        assert model.condition(torch.arange(model.classes)).sample(1).shape == (
            1,
            model.classes,
            *shape,
        )
    else:
        assert model.sample(1).shape == (1, *shape)


def test_recipe_of_the_paper_has_its_settings():
    recipe = load_recipe("glow_cifar10")
    assert recipe.paper.value == 3.35
    settings = recipe.filled().model
    assert (settings["scales"], settings["steps"], settings["width"]) == (3, 32, 512)
    assert settings["scale"] == "sigmoid"
    assert settings["logit_margin"] is None
    assert not settings["factorized"]
    assert recipe.training.optimizer == "adamax"
    assert recipe.training.learning_rate == 1e-3


def test_recipe_a_recipe_is_read_from_a_file(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(
        "data: digits\nmodel: {name: glow, steps: 2}\ntraining: {learning_rate: 1e-4, minutes: 3}\n"
    )
    recipe = load_recipe(str(path))
    assert recipe.name == "mine"
    assert recipe.training == Training(
        learning_rate=1e-4, minutes=3.0
    )  # YAML itself takes 1e-4 for a string
    assert recipe.paper is None


@pytest.mark.parametrize("name", ["flow_pp", "glow", "nice", "real_nvp"])
def test_recipes_of_every_flow_take_learned_noise(name):
    noise = {"formula": "affine", "width": 4, "depth": 1}
    recipe = Recipe.from_dict(
        changed(model={"name": name, **SMALL[name], "noise": noise}), "the test"
    )
    assert recipe.filled().model["noise"] == {
        **noise,
        "components": 32,
        "heads": 4,
        "dropout": 0.2,
        "checkerboard": False,
        "steps": 4,
        "encoder_width": 32,
    }
    assert recipe.filled().filled() == recipe.filled()
    uniform = recipe.changed({"noise": None}, {})
    assert uniform.build((1, 8, 8), 17).noise is None
    x = torch.randint(17, (2, 1, 8, 8))
    model = recipe.build((1, 8, 8), 17)
    assert model.noise(x).sample().floor().equal(x.float())


def test_recipe_checks_noise_like_other_settings():
    with pytest.raises(
        ValueError, match=r"model: noise has an unknown key 'dpth'\. Did you mean 'depth'\?"
    ):
        Recipe.from_dict(changed(model={"name": "glow", "noise": {"dpth": 1}}), "the test")
    with pytest.raises(ValueError, match="model has an unknown key 'noise'"):
        Recipe.from_dict(changed(model={"name": "nade", "noise": {}}), "the test")


def test_recipe_changes_settings_one_by_one():
    recipe = Recipe.from_dict(VALUES, "the test")
    other = recipe.changed({"steps": 3}, {"batch_size": 5})
    assert other.model == {**recipe.model, "steps": 3}
    assert other.training == Training(steps=10, batch_size=5)
    assert recipe.model["steps"] == 2


def test_recipe_that_is_filled_spells_out_the_defaults():
    recipe = Recipe.from_dict(VALUES, "the test").filled()
    assert recipe.model["log_scale_factor"] == 3.0
    assert recipe.model["steps"] == 2
    assert {"shape", "levels"}.isdisjoint(recipe.model)
    assert recipe.filled() == recipe


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            changed(modle={}),
            r"the test has an unknown key 'modle'\. Did you mean 'model'\? Known: name, model",
        ),
        (
            changed(training={"batchsize": 1}),
            r"the test: training has an unknown key 'batchsize'\. Did you mean 'batch_size'\?",
        ),
        (
            changed(model={"name": "glow", "widht": 1}),
            r"model has an unknown key 'widht'\. Did you mean 'width'\?",
        ),
        (
            changed(model={"name": "glov"}),
            r"name expects one of .*glow, .*; got 'glov'\. Did you mean 'glow'\?",
        ),
        (
            changed(model={"name": "os.system"}),
            r"name expects one of .*glow, .*; got 'os\.system'\.",
        ),
        (changed(model={"name": ["glow"]}), "name expects one of .*glow"),
        (changed(model={"width": 3}), "name expects one of .*glow, .*; got None"),
        (changed(model={"name": "glow", "shape": [1, 2, 2]}), "unknown key 'shape'"),
        (
            changed(model={"name": "glow", "width": "wide"}),
            r"model: width expects int; got 'wide'\. Pass one",
        ),
        (changed(model={"name": "glow", "width": 1.5}), r"width expects int; got 1\.5"),
        (changed(model={"name": "glow", "width": None}), "width expects int; got None"),
        (
            changed(model={"name": "glow", "scale": "exp"}),
            r"scale expects Optional\[Literal\['tanh', 'sigmoid'\]\]; got 'exp'",
        ),
        (changed(model="glow"), "model expects .*; got 'glow'"),
        (changed(data=3), "data expects str; got 3"),
        (changed(training=[1]), r"training expects names with values; got \[1\]"),
        (changed(training={"steps": True}), "steps expects int; got True"),
        (changed(training={"betas": [0.9]}), r"betas expects tuple\[float, float\]; got \[0\.9\]"),
        (changed(training={"minutes": "long"}), r"minutes expects float \| None; got 'long'"),
        (
            changed(training={"steps": 0}),
            r"training\.steps expects a positive number of at most \d+; got 0",
        ),
        (
            changed(training={"learning_rate": -1.0}),
            r"training\.learning_rate expects a positive number",
        ),
        (
            changed(training={"learning_rate": float("nan")}),
            r"training: learning_rate expects a finite number; got nan",
        ),
        (
            changed(training={"gradient_clip": 0.0}),
            r"training\.gradient_clip expects a positive number",
        ),
        (changed(training={"ema_decay": 1.0}), r"training\.ema_decay expects a number in \[0, 1\)"),
        (changed(training={"warmup_steps": -1}), r"training\.warmup_steps expects 0 or more"),
        (changed(training={"betas": [0.9, 1.0]}), r"training\.betas expects numbers in \[0, 1\)"),
        (changed(training={"weight_decay": -1.0}), r"training\.weight_decay expects 0 or more"),
        (changed(paper={"value": 3.0}), "paper lacks reference"),
        ({"name": "x", "data": "digits"}, "the test lacks model"),
        (None, "the test expects names with values; got None"),
    ],
    ids=str,
)
def test_recipe_names_what_is_wrong(values, message):
    with pytest.raises(ValueError, match=message):
        Recipe.from_dict(values, "the test")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("glow_digit", r"no recipe 'glow_digit'\. Did you mean 'glow_digits'\?"),
        ("nothing", "Pass one of .*glow_cifar10, "),
        ("nothing.yaml", r"no recipe file nothing\.yaml"),
    ],
)
def test_recipe_that_is_unknown_is_refused(name, message):
    with pytest.raises(ValueError, match=message):
        load_recipe(name)


@pytest.mark.parametrize(
    ("name", "shape", "levels", "message"),
    [
        ("glow_digits", (1, 7, 8), 17, r"multiples of 2\^scales"),
        (
            "nade_mnist",
            (1, 28, 28),
            256,
            "NADE expects images of 2 levels, 0 and 1; got 256. Use --binarize",
        ),
    ],
)
def test_recipe_refuses_an_image_that_does_not_fit(name, shape, levels, message):
    with pytest.raises(ValueError, match=message):
        load_recipe(name).build(shape, levels)


def test_parse_kwargs_of_a_function():
    def builder(dim, sizes: list[int], rate: float = 0.1, name: str | None = None):
        pass

    builder.__annotations__["dim"] = int
    assert parse_kwargs(builder, {"sizes": [1, 2], "rate": "1e-3"}, "x", leave_out=["dim"]) == {
        "sizes": [1, 2],
        "rate": 1e-3,
    }
    assert parse_kwargs(builder, {"dim": 1, "sizes": [], "name": None}, "x")["name"] is None
    with pytest.raises(ValueError, match=r"x: sizes expects list\[int\]; got \[1, 'a'\]"):
        parse_kwargs(builder, {"dim": 1, "sizes": [1, "a"]}, "x")
    assert MODELS["glow"].signature.__name__ == "glow"


@pytest.mark.parametrize("name", MODELS)
def test_recipe_of_every_model_can_be_rehearsed_without_a_trace(name):
    shape = (5,) if isinstance(MODELS[name], TableEntry) else (1, 24, 24)
    build = functools.partial(MODELS[name].build, shape, 2, **SMALL[name])
    torch.manual_seed(0)
    _, taken = rehearse(build, name)
    torch.manual_seed(0)
    kept = sum(weight.nbytes for weight in build().state_dict().values())
    drawn = torch.rand(1)
    torch.manual_seed(0)
    build()
    assert torch.equal(torch.rand(1), drawn)
    assert kept <= taken


def test_recipe_takes_every_integer_type():
    recipe = Recipe.from_dict(
        changed(model={"name": "glow", "steps": np.int64(2)}, training={"steps": np.int32(3)}), "x"
    )
    assert (recipe.model["steps"], recipe.training.steps) == (2, 3)
    assert {type(recipe.model["steps"]), type(recipe.training.steps)} == {int}


@pytest.mark.parametrize(
    ("given", "warned"),
    [
        ({}, False),
        ({"batch_size": 64}, False),
        ({"batch_size": 8}, True),
        ({"batch_size": 8, "warmup_steps": 100}, False),
        ({"batch_size": 8, "learning_rate": 1e-4}, False),
    ],
)
def test_recipe_warns_of_a_smaller_batch_than_it_was_made_for(given, warned):
    assert (caution(Training(batch_size=64), given) is not None) == warned
