"""Where a network's weights are: a file, known by its SHA-256."""

import hashlib
import os
import stat

from imgret.errors import ImgretError, why

MAX_BYTES = 8 << 30  # of a file, and of what it unpacks to
FOLDER = "IMGRET_WEIGHTS"  # the environment variable that names a folder of weights


def find(recorded, digest="", given=(), missing=""):
    """The bytes of a weights file.

    Parameters
    ----------
    recorded : str
        Its path, as asked for or as recorded; where there is no such file, one of that name in the folder $IMGRET_WEIGHTS.
    digest : str
        SHA-256 that it must have, hex; any, if empty.
    given : sequence of str
        Files to look at first; of these the one with the digest counts.
    missing : str
        What to say where there is none.

    Returns
    -------
    path : str
    data : bytes
    digest : str

    Raises
    ------
    ImgretError
    """
    others = []
    for path in given:
        data = _read(path, "--weights")
        found = hashlib.sha256(data).hexdigest()
        if not digest or found == digest:
            return path, data, found
        others.append(f"--weights {path} is another file (SHA-256 {found[:12]}) than the one that was used ({digest[:12]})")
    folder = os.environ.get(FOLDER)
    path = recorded
    if not os.path.exists(path) and folder and os.path.exists(os.path.join(folder, os.path.basename(path))):
        path = os.path.join(folder, os.path.basename(path))
    if not os.path.exists(path):
        remedy = f"give --weights, or name its folder in {FOLDER}" if digest else f"check the path, or name its folder in {FOLDER}"
        raise ImgretError(others[0] if others else missing or f"the weights {recorded}: there is no such file; {remedy}")
    data = _read(path, "the weights")
    found = hashlib.sha256(data).hexdigest()
    if digest and found != digest:
        used = f"the weights {path} are another file (SHA-256 {found[:12]}) than the one that was used ({digest[:12]})"
        raise ImgretError(others[0] if others else f"{used}: give it with --weights")
    return path, data, found


def _read(path, what):
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                kind = "a folder" if stat.S_ISDIR(status.st_mode) else "not a regular file"
                raise ImgretError(f"{what} {path}: it is {kind}")
            if status.st_size > MAX_BYTES:
                raise ImgretError(f"{what} {path}: the file has {status.st_size} bytes, the limit is {MAX_BYTES}")
            with open(descriptor, "rb", closefd=False) as file:
                return file.read(MAX_BYTES + 1)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise ImgretError(f"{what} {path}: {why(error).lower()}") from None


def imagenet(model):
    """torchvision's default ImageNet weights of a network: the file that belongs into its cache, mean and std.

    Returns
    -------
    path : str
    mean, std : tuple of float
    missing : str
        What to say where the file is not there: a step never downloads.

    Raises
    ------
    ImgretError
        If it has none.
    """
    import torch
    import torchvision

    choices = list(torchvision.models.get_model_weights(model))
    if not choices:
        raise ImgretError(f"torchvision has no ImageNet weights for {model}: give a file with --set weights=FILE")
    best = torchvision.models.get_model_weights(model).DEFAULT
    transforms = best.transforms()
    mean, std = tuple(map(float, transforms.mean)), tuple(map(float, transforms.std))
    file = os.path.basename(best.url)
    path = os.path.join(torch.hub.get_dir(), "checkpoints", file)
    missing = (
        f"the ImageNet weights of {model} are not here, and a step downloads nothing: put {file} ({best.url}) into "
        f"{os.path.dirname(path)}, or run scripts/fetch_weights.py {model} where there is a network"
    )
    return path, mean, std, missing
