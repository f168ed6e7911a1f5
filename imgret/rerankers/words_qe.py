"""Query expansion of visual words: a query's words and those of photos that were found ask the index together."""

import dataclasses

import numpy as np

from imgret import arrays, geometry
from imgret.errors import ImgretError
from imgret.registry import param
from imgret.rerankers.base import Listed, Reranker, Taken
from imgret.rerankers.expansion import ExpansionParams, chosen, in_front

ALIKE = 64  # bits that `distance` is given for


class WordsQe(Reranker):
    """Average query expansion of bags of words and aggregated kernels, Hamming query expansion of descriptors that have words.

    Of `bow` and `asmk` an entry is a word: what the query and the photos have of it is averaged. A word's frequency is their mean (Chum et
    al. 2007, section 4); an aggregated residual is the direction of their mean (Tolias et al. 2016, section 7: aggregation across images),
    and weighs as much as the mean is long: what one photo alone has, or has otherwise, weighs little.

    Of `hamming` and `smk` (and of `bow` with geometry) an entry is a descriptor: those of one word whose signatures differ in at most
    `distance` bits are taken for one, whose signature is that of most, and which weighs by the part of the photos that have it (Tolias &
    Jégou 2014, section 4).

    Entries that say where they are take part only if the map of their photo takes them into the query, that is into its box, or to among
    its own entries; those without geometry all do.

    References
    ----------
    O. Chum, J. Philbin, J. Sivic, M. Isard & A. Zisserman, "Total recall: automatic query expansion with a generative feature model for
    object retrieval", ICCV 2007.
    G. Tolias & H. Jégou, "Visual query expansion with or without geometry: refining local descriptors by feature aggregation", Pattern
    Recognition 2014.
    G. Tolias, Y. Avrithis & H. Jégou, "Image search with selective match kernels: aggregation across single and multiple images", IJCV
    2016.
    """

    name = "words-qe"
    takes = (Taken(("words",), "to average"), Taken(("index",), "to ask again"))

    @dataclasses.dataclass(frozen=True)
    class Params(ExpansionParams):
        distance: float = param(
            16.0,
            f"bits of {ALIKE} in which signatures of one word may differ to be one; of other lengths in proportion",
            minimum=0.0,
            maximum=64.0,
        )

    def begin(self, known):
        """Refuse an index that takes no words."""
        self._encoder = known.words()

    def rerank(self, queries, known):
        """See `Reranker.rerank`."""
        ranks = [chosen(query, self.params.depth, self.params.verified) for query in queries]
        lists = [query.list for query in queries]
        asking = [number for number, found in enumerate(ranks) if len(found) and len(queries[number].entries["word"])]
        if not asking:
            return lists
        expanded = [self.expanded(queries[number], ranks[number], known) for number in asking]
        answers = known.search(expanded, max(len(lists[number]) for number in asking))
        for number, after in zip(asking, answers, strict=True):
            before = lists[number]
            lists[number] = (
                in_front(before, after) if self.params.verified else Listed(after.ids[: len(before)], after.scores[: len(before)])
            )
        return lists

    def expanded(self, query, ranks, known):
        """The entries that ask again: dict of str to ndarray, as the index takes them."""
        own, photos = query.entries, []
        for rank in ranks:
            entries = known.entries(int(query.list.ids[rank]))
            if "geometry" in entries and "geometry" in own:
                matrix = None if query.list.maps is None else query.list.maps[rank]
                entries = within(entries, matrix, _region(query, own))
            photos.append(entries)
        together = _joined(own, photos, self._encoder.bits)
        single = self._encoder.name in ("hamming", "smk") or "geometry" in own
        return self._averaged(own, together, len(photos) + 1, single)

    def _averaged(self, own, together, count, single):
        """Entries of several photos, those that are one averaged: `together` is sorted by word, the query's before others."""
        words, weights, images, numbers = (together[name] for name in ("word", "weight", "image", "numbers"))
        starts = np.flatnonzero(np.diff(words, prepend=-1))
        groups = np.repeat(np.arange(len(starts)), np.diff(starts, append=len(words)))
        if single:
            groups = self._alike(groups, numbers)
        first = np.full(groups.max() + 1, len(groups), np.int64)
        np.minimum.at(first, groups, np.arange(len(groups)))
        sums = np.bincount(groups, weights, minlength=len(first))
        made = {"word": words[first].astype(np.uint32)}
        if numbers is None:
            made["weight"] = (sums / count).astype(np.float32)
        else:
            means = np.zeros((len(first), numbers.shape[1]))
            np.add.at(means, groups, numbers * weights[:, None])
            if single:
                support = np.bincount(np.unique(groups * count + images) // count, minlength=len(first))
                made["weight"] = (support / count).astype(np.float32)
            else:
                made["weight"] = (arrays.row_norms(means) / count).astype(np.float32)
            made["signature"] = self._kept(means, own["signature"].dtype)
        if single:
            made |= self._single(own, together, first)
        return {name: column[made["weight"] > 0] for name, column in made.items()}

    def _alike(self, groups, numbers):
        """Groups of entries of one word whose signatures are alike: numbered from 0."""
        from imgret.rerankers import grouping

        if numbers is None:
            return np.arange(len(groups))
        bits = np.packbits(numbers > 0, axis=1, bitorder="little")
        wide = np.zeros((len(bits), -(-bits.shape[1] // 8) * 8), np.uint8)
        wide[:, : bits.shape[1]] = bits
        firsts = np.empty(len(groups), np.int64)
        grouping.alike(groups, wide.view(np.uint64), int(self.params.distance * self._encoder.bits / ALIKE), firsts)
        return np.unique(firsts, return_inverse=True)[1].reshape(-1)

    @staticmethod
    def _kept(means, dtype):
        """Signatures as the query's are: bits, or numbers of unit length."""
        if dtype == np.uint8:
            return np.packbits(means > 0, axis=1, bitorder="little")
        return arrays.unit_rows(means.astype(np.float32)).astype(dtype)

    @staticmethod
    def _single(own, together, first):
        """Of descriptors: which they are, and where."""
        place, count = together["row"][first], len(own["word"])
        mine = place >= 0
        given = own.get("descriptor", np.arange(count)).astype(np.int64)
        descriptor = (given.max(initial=-1) + 1) + np.arange(len(first))
        descriptor[mine] = given[place[mine]]
        found = {"descriptor": descriptor.astype(np.uint32)}
        return found | ({"geometry": together["geometry"][first]} if "geometry" in own else {})


def _region(query, own):
    """x1, y1, x2, y2: the query's box, or all that its entries take."""
    if np.isfinite(query.box).all():
        return query.box
    xy = own["geometry"][:, :2]
    return (*xy.min(axis=0).tolist(), *xy.max(axis=0).tolist()) if len(xy) else (0, 0, -1, -1)


def within(entries, matrix, region):
    """The entries of a photo that lie in a region of the query, with their geometry there; none where no map is known.

    Parameters
    ----------
    entries : dict of str to ndarray
    matrix : ndarray, shape (3, 3), or None
        From places of the query to places of the photo.
    region : sequence of float
        x1, y1, x2, y2 in the query photo.
    """
    nothing = {path: column[:0] for path, column in entries.items()}
    if matrix is None or not np.isfinite(matrix).all() or abs(np.linalg.det(matrix.astype(np.float64))) < 1e-12:
        return nothing
    back = np.linalg.inv(matrix.astype(np.float64))
    places = entries["geometry"]
    x, y, w = back @ np.stack([places[:, 0], places[:, 1], np.ones(len(places))]).astype(np.float64)
    with np.errstate(all="ignore"):
        x, y = x / w, y / w
    kept = np.isfinite(x) & np.isfinite(y) & (w > 0)
    kept[kept] = (x[kept] >= region[0]) & (x[kept] <= region[2]) & (y[kept] >= region[1]) & (y[kept] <= region[3])
    found = {path: column[kept] for path, column in entries.items()}
    turn = np.rint(np.arctan2(back[1, 0], back[0, 0]) / (2 * np.pi) * geometry.TURN)
    larger = np.rint(0.5 * np.log2(max(abs(np.linalg.det(back[:2, :2])), 1e-12)) * geometry.STEPS)
    moved = found["geometry"].astype(np.int64)
    moved[:, 0], moved[:, 1] = np.clip(np.rint(x[kept]), 0, geometry.MOST), np.clip(np.rint(y[kept]), 0, geometry.MOST)
    moved[:, 2], moved[:, 3] = np.clip(moved[:, 2] + larger, 0, geometry.MOST), (moved[:, 3] + turn) % geometry.TURN
    return found | {"geometry": moved.astype(np.uint16)}


def _joined(own, photos, bits):
    """The entries of the query and of photos, sorted by word, the query's first, with what is known of each."""
    several = [own, *photos]
    columns = {
        "word": np.concatenate([each["word"].astype(np.int64) for each in several]),
        "weight": np.concatenate([_weights(each) for each in several]),
        "image": np.repeat(np.arange(len(several)), [len(each["word"]) for each in several]),
        "row": np.concatenate([np.arange(len(own["word"])), np.full(sum(len(each["word"]) for each in photos), -1)]),
    }
    if "signature" in own:
        columns["numbers"] = np.concatenate([_numbers(each["signature"], bits) for each in several])
    if "geometry" in own:
        columns["geometry"] = np.concatenate([each["geometry"] for each in several])
    order = np.argsort(columns["word"], kind="stable")
    return {"numbers": None} | {name: column[order] for name, column in columns.items()}


def _weights(entries):
    return entries["weight"].astype(np.float64) if "weight" in entries else np.ones(len(entries["word"]))


def _numbers(signature, bits):
    """Signatures as numbers of unit length, (n, d), float32."""
    if signature.dtype == np.uint8:
        if signature.shape[1] != -(-bits // 8):
            raise ImgretError(f"signatures of {8 * signature.shape[1]} bits are not those of an encoder of {bits}: encode the words again")
        signs = np.unpackbits(signature, axis=1, count=bits, bitorder="little").astype(np.float32)
        return (2 * signs - 1) / np.float32(np.sqrt(bits))
    return signature.astype(np.float32)
