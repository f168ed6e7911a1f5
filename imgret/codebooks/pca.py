"""PCA of vectors or descriptors, with whitening."""

import dataclasses

import numpy as np

from imgret.checkpoints import resume
from imgret.codebooks.frames import frame_of
from imgret.codebooks.projection import Projection
from imgret.errors import ImgretError
from imgret.parallel import blocks, one_thread, ordered_map
from imgret.registry import SAMPLING, Params, param

EXACT = 8192  # the largest matrix of inner products that is formed
PANEL = 1024
GROUP = 16  # blocks that one task adds up
DENSE = 1024  # up to here all eigenvalues are computed, whatever is asked for
ZERO = 1e-7  # an eigenvalue below this share of the largest is rounding of float32
PRODUCTS, RANDOMISED = "inner products", "randomised decomposition"  # what is counted


class PCA(Projection):
    """Principal components: mean, orthonormal components, eigenvalues of the covariance (divisor N − 1).

    With m = min(N, D): up to m = 8192 the D × D covariance, or with fewer rows than columns the N × N Gram matrix, is formed
    (float32 products of centred blocks, added in float64) and decomposed: all of it up to m = 1024 or where more than m / 8 components
    are asked for, otherwise its leading part by a restarted block Krylov iteration, taken to a residual of 1e-8 of the largest eigenvalue
    (and all of it again should that not be reached). Above, randomised block Krylov on the sample itself: float32 products,
    at most 4 restarts, until the residual is 1e-5 of the largest eigenvalue.

    Of each component the entry of largest magnitude is positive. Whitening divides by sqrt(eigenvalue + regulariser · largest
    eigenvalue); a direction without variance (below 1e-7 of the largest) is projected to 0. No L2 normalisation here.

    Memory beyond the sample: 8 m² bytes (at most 0.5 GB; about three times that while all of a large matrix is decomposed), or
    100 · D · (size + 16) bytes for the randomised way, and about 80 MB a job.

    Attributes
    ----------
    components_ : ndarray, shape (size, D), float32
        Orthonormal rows, by descending eigenvalue.

    References
    ----------
    H. Jégou and O. Chum, Negative evidences and co-occurrences in image retrieval: the benefit of PCA and whitening, ECCV 2012,
    section 3. N. Halko, P. G. Martinsson and J. A. Tropp, Finding structure with randomness, SIAM Review 2011, section 4.5. C. Musco and
    C. Musco, Randomized block Krylov methods for stronger and faster approximate SVD, NIPS 2015, algorithm 2.
    """

    name = "pca"

    @dataclasses.dataclass(frozen=True)
    class Params(Params):
        size: int = param(128, "dimensions to project to", minimum=1)
        whiten: bool = param(False, "divide each dimension by its standard deviation")
        regulariser: float = param(0.0, "whitening adds this share of the largest eigenvalue to each", minimum=0.0)
        seed: int = param(0, "seed of the iterative decompositions", role=SAMPLING, minimum=0)

    def fit(self, x, *, jobs=1, checkpoint=None, progress=None):
        """Learn mean, components and eigenvalues, with a checkpoint after each part of the matrix or each restart; see `Codebook.fit`.

        Raises
        ------
        ImgretError
            For more dimensions than columns or rows, rows that are all equal, or values that are not finite or beyond 1e18.
        """
        size = self.params.size
        self._check_sample(x)
        frame = frame_of(x, jobs)
        if frame.constant.all():
            raise ImgretError(f"the {len(x)} sampled rows are all equal: there is no variance to learn a projection from")
        work = _Work(x, frame, size, self.params.seed, jobs, checkpoint, progress)
        if min(x.shape) > EXACT:
            values, components, total = work.randomized()
        elif x.shape[0] < x.shape[1]:
            values, components, total = work.gram()
        else:
            values, components, total = work.covariance()

        columns = np.arange(size)
        signs = np.sign(components[np.abs(components).argmax(axis=0), columns])
        share = 1 / (max(len(x) - 1, 1) * frame.scale**2)
        self.dim_ = x.shape[1]
        self.mean_ = frame.mean
        self.components_ = np.ascontiguousarray((components * np.where(signs == 0, 1, signs)).T.astype(np.float32))
        self.eigenvalues_ = np.maximum.accumulate(np.maximum(values, 0)[::-1])[::-1] * share
        self._summary = {
            "rows": len(x),
            "total_variance": total * share,
            # a share of the total
            "explained_variance": float(self.eigenvalues_.sum() / (total * share)),
            "largest_eigenvalue": float(self.eigenvalues_[0]),
            "smallest_eigenvalue": float(self.eigenvalues_[-1]),
        }
        return self

    def project(self, x):
        """Rows in the learned space, whitened if asked for; see `Projection.project`."""
        y = super().project(x)
        if self.params.whiten:
            y *= self._whitening()
        return y

    def _whitening(self):
        values = self.eigenvalues_
        good = values > ZERO * values[0]
        spread = np.sqrt(np.where(good, values, 1) + self.params.regulariser * values[0])
        return np.where(good, 1 / spread, 0).astype(np.float32)


class _Work:
    """One decomposition; each way returns (eigenvalues, components as columns, trace) of the scatter matrix in the frame."""

    def __init__(self, x, frame, size, seed, jobs, checkpoint, progress):
        self.x, self.frame, self.size, self.seed, self.jobs = x, frame, size, seed, jobs
        self.checkpoint, self.progress = checkpoint, progress

    def part(self, across, down):
        """x[across, down] in the frame."""
        return self.frame.apply(self.x[across, down], down)

    def covariance(self):
        matrix = self.products(self.x.shape[1], self.x.shape[0], lambda panel, depth: self.part(depth, panel))
        values, vectors = self.leading(matrix)
        return values, vectors, float(np.trace(matrix))

    def gram(self):
        matrix = self.products(self.x.shape[0], self.x.shape[1], lambda panel, depth: self.part(panel, depth).T)
        values, vectors = self.leading(matrix)
        total = float(np.trace(matrix))
        del matrix
        components = np.empty((self.x.shape[1], self.size))
        single = vectors.astype(np.float32)

        def back(panel):
            components[panel] = self.part(slice(None), panel).T @ single

        for _ in ordered_map(back, blocks(self.x.shape[1], PANEL), self.jobs):
            pass
        # Orthonormal also where an eigenvalue is 0 and the column above is rounding only.
        with one_thread():
            return values, np.linalg.qr(components)[0], total

    def products(self, side, depth, part):
        """The side × side matrix of inner products, from `part(panel, depth block)` of shape (depth, panel)."""
        panels, pieces = blocks(side, PANEL), blocks(depth)
        tasks = [
            (a, b, pieces[start : start + GROUP])
            for j, b in enumerate(panels)
            for a in panels[: j + 1]
            for start in range(0, len(pieces), GROUP)
        ]
        matrix, done = np.zeros((side, side)), 0
        state = resume(self.checkpoint.load() if self.checkpoint else None, done=(), matrix=(side, side))
        if state is not None:
            matrix[:], done = state["matrix"], int(state["done"])
        self.tell(done, len(tasks), PRODUCTS)

        def multiply(task):
            a, b, group = task
            total = 0.0
            for piece in group:
                left = part(a, piece)
                total = total + (left.T @ (left if a == b else part(b, piece))).astype(np.float64)
            return total

        for (a, b, _), total in zip(tasks[done:], ordered_map(multiply, tasks[done:], self.jobs), strict=True):
            matrix[a, b] += total
            done += 1
            self.report(lambda done=done: {"done": np.asarray(done), "matrix": matrix.copy()}, done, len(tasks), PRODUCTS)
        for j, b in enumerate(panels):
            for a in panels[:j]:
                matrix[b, a] = matrix[a, b].T
        return matrix

    def leading(self, matrix):
        """The `size` largest eigenvalues, descending, and their eigenvectors as columns."""
        side = len(matrix)
        if side > DENSE and 8 * self.size <= side:
            found = self.krylov(lambda q: self.times(matrix, q), side, steps=4, restarts=40, tolerance=1e-8)
            if found[2]:
                return found[:2]
        with one_thread():
            values, vectors = np.linalg.eigh(matrix)
        return values[::-1][: self.size], vectors[:, ::-1][:, : self.size]

    def times(self, matrix, q):
        return np.concatenate(list(ordered_map(lambda panel: matrix[panel] @ q, blocks(len(matrix), PANEL), self.jobs)))

    def randomized(self):
        pieces = blocks(len(self.x), max(256, 2**23 // self.x.shape[1]))

        def apply(q):
            single, total = q.astype(np.float32), 0.0

            def multiply(piece):
                z = self.part(piece, slice(None))
                return z.T @ (z @ single)

            for product in ordered_map(multiply, pieces, self.jobs):
                total = total + product.astype(np.float64)
            return total

        def energy(piece):
            z = self.part(piece, slice(None))
            return np.einsum("ij,ij->i", z, z).sum(dtype=np.float64)

        total = float(sum(ordered_map(energy, pieces, self.jobs)))
        values, vectors, _ = self.krylov(apply, self.x.shape[1], steps=3, restarts=4, tolerance=1e-5, reported=True)
        return values, vectors, total

    def krylov(self, apply, side, *, steps, restarts, tolerance, reported=False):
        """Leading eigenpairs of the symmetric, non-negative matrix behind `apply`, and whether they reached `tolerance`.

        Rayleigh-Ritz in the span of V, CV ... C^steps V; V is random first, then the best Ritz vectors of the last round.
        """
        width = min(self.size + 16, side)
        start, image, values, done, converged = None, None, None, 0, False
        shapes = {"done": (), "converged": (), "start": (side, width), "image": (side, width), "values": (width,)}
        state = resume(self.checkpoint.load() if reported and self.checkpoint else None, **shapes)
        with one_thread():
            if state is None:
                start = np.linalg.qr(np.random.default_rng(self.seed).standard_normal((side, width)))[0]
                image = apply(start)
            else:
                start, image, values = (np.array(state[name]) for name in ("start", "image", "values"))
                done, converged = int(state["done"]), bool(state["converged"])
            while done < restarts and not converged:
                basis, images, last = start, image, image
                for step in range(steps):
                    if reported:
                        self.tell(done + step / steps, restarts, RANDOMISED)
                    # Once more than is enough by the book, for columns that were zero after the first time.
                    for _ in range(3):
                        last = np.linalg.qr(last - basis @ (basis.T @ last))[0]
                    basis = np.concatenate([basis, last], axis=1)
                    last = apply(last)
                    images = np.concatenate([images, last], axis=1)
                inner = basis.T @ images
                values, small = np.linalg.eigh((inner + inner.T) / 2)
                values, small = values[::-1][:width].copy(), small[:, ::-1][:, :width]
                start, image = basis @ small, images @ small
                residual = np.linalg.norm(image - start * values, axis=0)[: self.size]
                done += 1
                converged = bool(residual.max() <= tolerance * values[0])
                if reported:
                    now = {
                        "done": np.asarray(done),
                        "converged": np.asarray(int(converged)),
                        "start": start,
                        "image": image,
                        "values": values,
                    }
                    self.report(lambda now=now: now, done, restarts, RANDOMISED)
        return values[: self.size], start[:, : self.size], converged

    def report(self, make_state, done, total, message):
        if self.checkpoint:
            self.checkpoint.save(make_state)
        self.tell(done, total, message)

    def tell(self, done, total, message):
        if self.progress:
            self.progress(done, total, message)
