"""Networks that predict any site from any other sites, in every order with the same weights."""

from pyro_exact.autoregressive.order_agnostic.completion import Completion
from pyro_exact.autoregressive.order_agnostic.conditional import ConditionalNet
from pyro_exact.autoregressive.order_agnostic.conv_nade import ConvNADE
from pyro_exact.autoregressive.order_agnostic.deep_nade import DeepNADE
from pyro_exact.autoregressive.order_agnostic.net import OrderAgnosticNet

__all__ = ["Completion", "ConditionalNet", "ConvNADE", "DeepNADE", "OrderAgnosticNet"]
