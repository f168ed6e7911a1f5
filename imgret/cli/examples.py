"""What each command's help ends with: a line or two that can be typed."""

EXAMPLES = {
    "": ("imgret build photos -o photos.imgret", "imgret search photos.imgret query.jpg"),
    "build": ("imgret build photos -o photos.imgret", "imgret search photos.imgret query.jpg"),
    "train": (
        "imgret train photos -m contrastive -o net.safetensors",
        "imgret train photos --truth groups.csv -m contrastive -o net.safetensors --validate others",
    ),
    "extract": ("imgret extract photos -o features.h5", "imgret extract photos -m cnn --set pool=gem -o vectors.h5"),
    "import": ("imgret import vectors.fvecs --names names.txt -o vectors.h5",),
    "codebook": ("imgret codebook features.h5 -o words.h5 --size 64", "imgret codebook features.h5 -m hamming -c words.h5 -o he.h5"),
    "encode": ("imgret encode features.h5 -c words.h5 -o vectors.h5", "imgret encode features.h5 -c he.h5 -o entries.h5"),
    "index": ("imgret index vectors.h5 -o index.h5", "imgret index entries.h5 -o inverted.h5"),
    "search": ("imgret search index.h5 query.jpg -k 10", "imgret search index.h5 queries/ --html found.html --photos photos"),
    "rerank": (
        "imgret rerank run.h5 -m spatial --features features.h5 -o better.h5",
        "imgret rerank run.h5 other.h5 -m fuse -o fused.h5",
    ),
    "evaluate": (
        "imgret evaluate ranking.h5 --protocol groups --truth groundtruth.csv",
        "imgret evaluate before.h5 after.h5 --protocol groups --truth groundtruth.csv --html report.html --photos photos",
    ),
    "duplicates": ("imgret duplicates photos.imgret", "imgret duplicates photos.imgret --html copies.html"),
    "export": ("imgret export vectors.h5 -o vectors.npy --names names.txt", "imgret export ranking.h5 -o ranking.trec"),
    "info": ("imgret info index.h5 --check", "imgret info features.h5 --failed"),
    "help": ("imgret help tour", "imgret help vlad"),
}


def epilog(name):
    """The examples of a command as click takes them: as they stand, without another fill."""
    lines = EXAMPLES.get(name, ())
    return "\b\n" + "\n".join([f"Example{'s' if len(lines) > 1 else ''}:", *(f"  {line}" for line in lines)]) if lines else None
