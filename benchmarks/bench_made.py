"""A training step of MADE, and of a plain multilayer perceptron of the same shape."""

import torch
from harness import DEVICE, alternate, report
from torch import nn
from torch.nn import functional as F

from pyro_exact.autoregressive import MADE

D, BATCH = 784, 100


class Perceptron(nn.Module):
    """The weights of MADE without masks."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.first, self.last, self.direct = (
            nn.Linear(D, hidden),
            nn.Linear(hidden, D),
            nn.Linear(D, D, bias=False),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the logits."""
        return (self.last(self.first(x).relu()) + self.direct(x)).unsqueeze(-1)


def main() -> None:
    """Measure and report."""
    torch.manual_seed(0)
    x = torch.randint(2, (BATCH, D), device=DEVICE).float()

    def step(net: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        optimizer.zero_grad()
        F.binary_cross_entropy_with_logits(net(x).squeeze(-1), x).backward()
        optimizer.step()

    ms, ratios = {}, []
    for hidden, rounds in ((500, 50), (8000, 15)):
        nets = {
            f"perceptron, {hidden} units": Perceptron(hidden),
            f"MADE, {hidden} units": MADE(D, (hidden,)),
            f"MADE, {hidden} units, random order": MADE(D, (hidden,), order=torch.randperm(D)),
            f"MADE, {hidden} units, 2 masks": MADE(D, (hidden,), masks=2),
        }
        contenders = {}
        for name, net in nets.items():
            optimizer = torch.optim.Adam(net.to(DEVICE).parameters(), fused=True)
            contenders[name] = lambda net=net, optimizer=optimizer: step(net, optimizer)
        found = alternate(contenders, rounds)
        ms |= found
        plain, *others = found
        for name in others:
            ratios.append(
                {
                    "what": f"{name} / perceptron",
                    "value": found[name] / found[plain],
                    "bar": "at most 1.1",
                }
            )
    net = f"a net {D} - hidden - {D} with direct weights"
    what = f"training step (forward, backward, fused Adam) of {net}, batch {BATCH}"
    report("made", what, ms, {}, ratios)


if __name__ == "__main__":
    main()
