"""Laws of layers, networks, likelihoods and models, used to test your own."""

from pyro_exact.testing.check import check_bijection, laws
from pyro_exact.testing.check_likelihood import check_likelihood, likelihood_laws
from pyro_exact.testing.check_net import check_causal_net, net_laws
from pyro_exact.testing.law import Law
from pyro_exact.testing.likelihood_trial import LikelihoodTrial
from pyro_exact.testing.model import ModelTrial, check_model, model_laws
from pyro_exact.testing.net_trial import NetTrial
from pyro_exact.testing.trial import Trial

__all__ = [
    "Law",
    "LikelihoodTrial",
    "ModelTrial",
    "NetTrial",
    "Trial",
    "check_bijection",
    "check_causal_net",
    "check_likelihood",
    "check_model",
    "laws",
    "likelihood_laws",
    "model_laws",
    "net_laws",
]
