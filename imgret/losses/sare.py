import dataclasses
from imgret import registry
from imgret.losses.base import TupleLoss, precise
from imgret.registry import param


class SARE(TupleLoss):
    name = "sare"

    @dataclasses.dataclass(frozen=True)
    class Params(registry.Params):
        treatment: str = param("joint", "x", choices=("joint", "independent"))
        temperature: float = param(0.07, "of the softmax: smaller looks at the nearest photos only", minimum=1e-3, maximum=10.0)

    def __call__(self, vectors):
        import torch

        v = precise(vectors)
        s = (v[:, :1] * v[:, 1:]).sum(dim=2) / self.params.temperature
        if self.params.treatment == "joint":
            return (s.logsumexp(dim=1) - s[:, 0]).mean()
        return torch.nn.functional.softplus(s[:, 1:] - s[:, :1]).mean()
