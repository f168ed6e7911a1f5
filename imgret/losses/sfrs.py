"""Self-supervised region similarities: a match by its hardest negatives, and how much each region of several matches shows, as taught."""

import dataclasses

from imgret import registry
from imgret.errors import UsageError
from imgret.losses.base import Loss, precise
from imgret.losses.sare import SARE
from imgret.registry import param


class SFRS(Loss):
    """L_hard + `soft_weight` · L_soft of a tuple.

    L_hard is SARE of the query, the photo that matches it best, and of each negative the region most like the query. L_soft is the
    cross-entropy of a softmax over the similarities of the query to all regions of all photos that may match it, with what the generation
    before gave these: soft labels, sharpened by a temperature for each generation. Without a teacher, in the first generation, photos are
    whole, and L_soft is 0.

    The paper writes the network's own softmax at temperature 1; the authors' program has the first of `temperatures` there, which is what
    its settings go with, and so it is here.

    References
    ----------
    Y. Ge, H. Wang, F. Zhu, R. Zhao & H. Li, "Self-supervising fine-grained region similarities for large-scale image localization", ECCV
    2020, sections 3.2 to 3.4: temperatures .07, .07, .06 and .05, a weight of .5.
    """

    name = "sfrs"

    @dataclasses.dataclass(frozen=True)
    class Params(registry.Params):
        """Of both parts, and how often training begins anew."""

        generations: int = param(4, "times that training begins anew, each taught by the one before", minimum=1, maximum=100)
        treatment: str = param(
            "independent",
            "negatives: joint, in one softmax with the match, or independent, each against it",
            choices=("joint", "independent"),
        )
        temperatures: tuple[float, ...] = param(
            (0.07, 0.07, 0.06, 0.05),
            "of the softmax; then of the labels of each generation that is taught: one for each, or more",
            minimum=1e-3,
            maximum=10.0,
        )
        soft_weight: float = param(0.5, "of what is taught", minimum=0.0, maximum=1e3)

        def __post_init__(self):
            super().__post_init__()
            if len(self.temperatures) < self.generations:
                raise UsageError(
                    f"`temperatures` are one for each of the {self.generations} generations, and {len(self.temperatures)} are given: set "
                    "more, or fewer `generations`"
                )

    def __init__(self, params=None):
        super().__init__(params)
        first = self.params.temperatures[0]
        self._hard = SARE(SARE.Params(treatment=self.params.treatment, temperature=first))

    def __call__(self, vectors, negatives, taught=None, generation=0):
        """The loss of one tuple.

        Parameters
        ----------
        vectors : torch.Tensor, shape (1 + k + n, D), or with a teacher (1 + k + n, R, D), float32
            Of unit L2 norm: the query, k photos that may match it, the best first, n negatives; of each its regions, the whole first.
        negatives : int
            n.
        taught : torch.Tensor, shape (1 + k + n, R, D), optional
            The same by the generation before, without gradient.
        generation : int
            From 0.

        Returns
        -------
        torch.Tensor, shape ()
        """
        import torch

        vectors = precise(vectors)
        if taught is None:
            return self._hard(torch.cat([vectors[:2], vectors[-negatives:]])[None])
        others = vectors[-negatives:]
        hardest = self._similarities(vectors[:1], others).detach().argmax(dim=1)
        chosen = others[torch.arange(negatives, device=others.device), hardest]
        hard = self._hard(torch.cat([vectors[:2, 0], chosen])[None])
        return hard + self.params.soft_weight * self.soft(vectors[:-negatives], precise(taught)[:-negatives], generation)

    def soft(self, vectors, taught, generation):
        """L_soft: vectors of the regions of a query and of photos that may match it, (1 + k, R, D), and the same by the teacher."""
        found = self._similarities(vectors[:1], vectors[1:]).flatten() / self.params.temperatures[0]
        return -(self.labels(taught, generation) * found.log_softmax(dim=0)).sum()

    def labels(self, taught, generation):
        """What the teacher's vectors (1 + k, R, D) say of all regions of all photos that may match: (k R,), which add up to 1."""
        return (self._similarities(taught[:1], taught[1:]).flatten() / self.params.temperatures[generation]).softmax(dim=0)

    @staticmethod
    def _similarities(query, photos):
        """Of a whole photo (1, R, D) to the regions of others: (n, R)."""
        return photos @ query[0, 0]
