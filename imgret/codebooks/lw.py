"""Learned whitening of vectors from matching pairs."""

import dataclasses

import numpy as np

from imgret.checkpoints import resume
from imgret.codebooks.frames import frame_of
from imgret.codebooks.projection import Projection
from imgret.errors import ImgretError
from imgret.parallel import BLOCK, blocks, one_thread, ordered_map
from imgret.registry import Params, param

WIDEST = 8192  # columns of the largest matrix of inner products that is formed
PANEL = 1024
GROUP = 16  # blocks that one task adds up
ZERO = 1e-7  # an eigenvalue below this share of the largest is rounding of float32


class LW(Projection):
    """Linear projection that whitens the differences of matching vectors, then keeps the directions of largest variance.

    C is the mean of (x_i − x_j)(x_i − x_j)ᵀ over all pairs i < j of rows that match, plus `regulariser` · trace(C) / D on the diagonal.
    With C = V S Vᵀ, a decomposition into eigenvectors, and P = S^(−1/2) Vᵀ, the eigenvectors U of the covariance of P (x − mean) over all
    rows (divisor N − 1), by descending eigenvalue, give the components Uᵀ P. So (without `regulariser`) a matching pair differs by 1 in
    mean square along each component, and two rows drawn at random by twice the eigenvalue. C^(−1/2), or the inverse of the Cholesky
    factor of C, differs from this P by a rotation, which U takes back.

    Pairs are not enumerated: over a group of n rows with mean m they add up to n Σ (x_i − m)(x_i − m)ᵀ. Every pair weighs the same, so a
    group of n rows weighs n (n − 1) / 2. The mean is that of all rows (that of the queries in the code of Radenović et al.).

    Pairs are usually fewer than dimensions. C then knows nothing of most directions, and unregularised would say that matching photos
    never differ there: any noise of new photos along them would be blown up above all else. The term on the diagonal bounds that. Its
    default, 1, was the choice that never fell below plain PCA on HOG vectors of warped patches of photos and on scikit-learn's digits, with
    30 to 24000 pairs of 64 to 512 dimensions; it was within 0.04 of mean average precision of the best of 1e-6 ... 10. With tens of pairs
    to a dimension try 0.1 ... 0.3, or 0 as in the papers; towards infinity the projection becomes that of PCA.

    The two D × D matrices are made of float32 products of centred blocks, added in float64; D is at most 8192. Of each component the entry
    of largest magnitude is positive; a direction without variance (below 1e-7 of the largest) gets a component of zeros. No L2
    normalisation here.

    Memory beyond the sample: two matrices of 8 D² bytes (0.5 GB each at most), seven while they are decomposed, and about 150 MB a job.

    Attributes
    ----------
    components_ : ndarray, shape (size, D), float32
        Not orthogonal.
    eigenvalues_ : ndarray, shape (size,), float64
        Descending: the variance along each component of all rows, that of a matching pair's difference being 1 (`regulariser` counted in).

    References
    ----------
    K. Mikolajczyk and J. Matas, Improving descriptors for fast tree matching by optimal linear projection, ICCV 2007.
    F. Radenović, G. Tolias and O. Chum, CNN image retrieval learns from BoW: unsupervised fine-tuning with hard examples, ECCV 2016
    (whitening and dimensionality reduction), and Fine-tuning CNN image retrieval with no human annotation, PAMI 2018.
    """

    name = "lw"
    takes = ("vectors",)
    needs_groups = True
    seeded = False

    @dataclasses.dataclass(frozen=True)
    class Params(Params):
        size: int = param(128, "dimensions to project to", minimum=1)
        regulariser: float = param(
            1.0, "added to the pairs' spread in every direction, as a share of the mean one", minimum=0.0, maximum=1e6
        )

    def fit(self, x, groups, *, jobs=1, checkpoint=None, progress=None):
        """Learn mean and components, with a checkpoint after each part of the matrices; see `Codebook.fit`.

        Parameters
        ----------
        x : ndarray, shape (N, D), float32, C-contiguous
            Image vectors.
        groups : sequence of array_like, shape (n,), integer
            Each the different rows, at least 2, of photos that match one another. A row may be in several groups, or in none.

        Raises
        ------
        ImgretError
            For more dimensions than columns or rows, more than 8192 columns, no groups, groups that are not as above, matching rows that
            are all equal or (with a small `regulariser`) do not differ in every direction, or values that are not finite or beyond 1e18.
        """
        size = self.params.size
        self._check_sample(x)
        columns = x.shape[1]
        if columns > WIDEST:
            raise ImgretError(
                f"the rows have {columns} columns, more than the {WIDEST} that whitening can be learned of: "
                "reduce them first with `codebook -m pca`"
            )
        groups = _Groups(groups, len(x))
        frame = frame_of(x, jobs)
        scatter, covariance = _Work(x, groups, frame, jobs, checkpoint, progress).matrices()
        with one_thread():
            values, components = _solve(scatter, covariance, size, self.params.regulariser, groups.pairs)

        with np.errstate(over="ignore"):
            components = np.ascontiguousarray((components.T * frame.scale).astype(np.float32))
        components[values <= ZERO * values[0]] = 0
        if not np.isfinite(components).all() or not components[0].any():
            raise ImgretError("the rows differ too little for the projection to be held in float32: scale them")
        largest = components[np.arange(size), np.abs(components).argmax(axis=1)]
        components[largest < 0] *= -1
        self.dim_ = columns
        self.mean_ = frame.mean
        self.components_ = components
        self.eigenvalues_ = np.maximum(values, 0) / (len(x) - 1)
        self._summary = {
            "rows": len(x),
            "groups": len(groups.sizes),
            "pairs": groups.pairs,
            "largest_eigenvalue": float(self.eigenvalues_[0]),
            "smallest_eigenvalue": float(self.eigenvalues_[-1]),
        }
        return self

    def _check_components(self):
        if not self.params.size <= self.dim_ <= WIDEST:
            raise ImgretError(f"the codebook's `components` cannot have {self.dim_} columns: train it again")
        if (self.components_.max(axis=1) < -self.components_.min(axis=1)).any() or not self.components_[0].any():
            raise ImgretError("the codebook's `components` must have a positive entry of largest magnitude: train it again")


class _Groups:
    """Groups of matching rows, checked, one after another in one list.

    Attributes
    ----------
    members : ndarray, shape (M,), int64
        Rows of the sample.
    group : ndarray, shape (M,), int64
        The group of each member, ascending.
    sizes, starts : ndarray, shape (G,), int64
        Members of each group, and the place of the first.
    pairs : int
    """

    def __init__(self, groups, count):
        groups = [np.asarray(group) for group in groups]
        if not groups:
            raise ImgretError("there are no matching pairs to learn from: give at least one group of two photos")
        for group in groups:
            if group.ndim != 1 or group.dtype.kind not in "iu":
                raise ImgretError("a group of matching rows must be a list of row numbers")
            if len(group) < 2:
                raise ImgretError("a group of matching rows must have at least 2 rows")
        self.members = np.concatenate([group.astype(np.int64) for group in groups])
        if self.members.min() < 0 or self.members.max() >= count:
            raise ImgretError(f"a group of matching rows must hold row numbers from 0 to {count - 1}")
        self.sizes = np.array([len(group) for group in groups], np.int64)
        self.starts = np.cumsum(self.sizes) - self.sizes
        self.group = np.repeat(np.arange(len(groups)), self.sizes)
        if len(np.unique(self.group * count + self.members)) < len(self.members):
            raise ImgretError("a group of matching rows must not hold a row twice")
        self.pairs = int((self.sizes * (self.sizes - 1) // 2).sum())


class _Work:
    """The sums of one fit, in the frame."""

    def __init__(self, x, groups, frame, jobs, checkpoint, progress):
        self.x, self.groups, self.frame, self.jobs = x, groups, frame, jobs
        self.checkpoint, self.progress = checkpoint, progress
        # The means of groups that reach over the end of a block: within one block they cannot be known.
        ends = np.arange(BLOCK, len(groups.members), BLOCK)
        cut = groups.group[ends][groups.group[ends] == groups.group[ends - 1]]
        cut = np.unique(cut).tolist()
        self.means = dict(zip(cut, ordered_map(self.mean, cut, jobs), strict=True))

    def part(self, rows, panel):
        """x[rows, panel] in the frame."""
        return self.frame.apply(self.x[rows, panel], panel)

    def mean(self, group):
        """The mean of a group in the frame, shape (D,), float64."""
        start, size = self.groups.starts[group], self.groups.sizes[group]
        members = self.groups.members[start : start + size]
        pieces = blocks(size, max(256, 2**23 // self.x.shape[1]))
        return sum(self.part(members[piece], slice(None)).sum(axis=0, dtype=np.float64) for piece in pieces) / size

    def differences(self, piece, panel):
        """sqrt(n) (x_i − m) of a piece of the members: their inner products over a group are the sum over its pairs."""
        z = self.part(self.groups.members[piece], panel)
        group = self.groups.group[piece]
        starts = np.flatnonzero(np.diff(group, prepend=-1))
        present = group[starts]
        # In float64, so that rows that are equal have differences of exactly 0.
        means = np.add.reduceat(z, starts, axis=0, dtype=np.float64) / self.groups.sizes[present, None]
        for place in (0, -1):
            if present[place] in self.means:
                means[place] = self.means[present[place]][panel]
        z -= means.astype(np.float32)[group - group[0]]
        z *= np.sqrt(self.groups.sizes[group, None]).astype(np.float32)
        return z

    def matrices(self):
        """The D × D sums of the outer products of all pairs' differences, and of all rows."""
        columns = self.x.shape[1]
        panels = blocks(columns, PANEL)
        sums = (self.differences, len(self.groups.members)), (self.part, len(self.x))
        tasks = [
            (number, a, b, pieces[start : start + GROUP])
            for number, pieces in enumerate(blocks(depth, BLOCK) for _, depth in sums)
            for j, b in enumerate(panels)
            for a in panels[: j + 1]
            for start in range(0, len(pieces), GROUP)
        ]
        both, done = (np.zeros((columns, columns)), np.zeros((columns, columns))), 0
        shapes = {"done": (), "scatter": (columns, columns), "covariance": (columns, columns)}
        state = resume(self.checkpoint.load() if self.checkpoint else None, **shapes)
        if state is not None:
            both[0][:], both[1][:], done = state["scatter"], state["covariance"], int(state["done"])

        def tell():
            if self.progress:
                self.progress(done, len(tasks), "inner products")

        tell()

        def multiply(task):
            number, a, b, group = task
            part, total = sums[number][0], 0.0
            for piece in group:
                left = part(piece, a)
                total = total + (left.T @ (left if a == b else part(piece, b))).astype(np.float64)
            return total

        for (number, a, b, _), total in zip(tasks[done:], ordered_map(multiply, tasks[done:], self.jobs), strict=True):
            both[number][a, b] += total
            done += 1
            if self.checkpoint:
                self.checkpoint.save(lambda done=done: {"done": np.asarray(done), "scatter": both[0].copy(), "covariance": both[1].copy()})
            tell()
        for j, b in enumerate(panels):
            for a in panels[:j]:
                for matrix in both:
                    matrix[b, a] = matrix[a, b].T
        return both


def _solve(scatter, covariance, size, regulariser, pairs):
    """The `size` largest eigenvalues of the whitened `covariance`, and the components as columns. Both matrices are overwritten."""
    side = len(scatter)
    scatter /= pairs
    spread, vectors = np.linalg.eigh(scatter)
    mean = float(np.trace(scatter)) / side
    if mean == 0:
        raise ImgretError("the rows that match are all equal: there is no difference to learn from")
    spread += regulariser * mean
    if spread[0] <= ZERO * spread[-1]:
        raise ImgretError(
            f"the {pairs} matching pairs do not differ in all of the {side} dimensions: "
            "give more pairs, raise `regulariser`, or reduce the dimensions first with `codebook -m pca`"
        )
    vectors /= np.sqrt(spread)
    # In the memory that is there; `eigh` reads one triangle, so rounding need not be symmetric.
    np.matmul(vectors.T, covariance, out=scatter)
    np.matmul(scatter, vectors, out=covariance)
    values, rotation = np.linalg.eigh(covariance)
    return values[::-1][:size], vectors @ rotation[:, ::-1][:, :size]
