"""Every network and every likelihood of the registry obeys the laws that users can check."""

import pytest
from registry import LIKELIHOODS, NETS

from pyro_exact.testing import check_causal_net, check_likelihood


@pytest.mark.parametrize("name", NETS)
def test_causal_net_obeys_the_laws(name):
    check_causal_net(NETS[name]())


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_likelihood_obeys_the_laws(name):
    check_likelihood(LIKELIHOODS[name]())
