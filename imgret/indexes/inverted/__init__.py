"""Inverted files: for every word the photos that have it, with a signature or a weight each; a query reads its own words' lists only.

`index` is the index, `building` makes its lists in bounded memory, `lists` is what is there once they are made, and one module for each
encoder (`bow`, `hamming`, `asmk`) says what a list adds to a photo's score. The loops over entries are in `kernels`, `matching` and
`packing`, compiled when they are first needed.
"""

SCORERS = {
    "bow": "imgret.indexes.inverted.bow:Bow",
    "hamming": "imgret.indexes.inverted.hamming:Hamming",
    "asmk": "imgret.indexes.inverted.asmk:Asmk",
    "smk": "imgret.indexes.inverted.asmk:Smk",
}
