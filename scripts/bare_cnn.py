"""The peers of bench_cnn.py. Usage: bare_cnn.py usual|forward FOLDER MODEL MAX_SIZE THREADS.

usual: what one finds in most repositories: PIL, torchvision's transforms, a DataLoader of batch 1 with one worker, GeM, `.numpy()`.
forward: nothing but the network (to its last map) on photos that lie in memory as normalised tensors, in batches of one shape; it prints
the seconds that took.
"""

import os
import sys
import time

import numpy as np
import torch
import torchvision
from PIL import Image
from torchvision.transforms import functional

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
BATCH = 8
how, folder, name, max_size, threads = *sys.argv[1:4], int(sys.argv[4]), int(sys.argv[5])
torch.set_num_threads(threads)


class Photos(torch.utils.data.Dataset):
    """The photos of a folder, reduced and normalised."""

    def __init__(self):
        self.paths = sorted(entry.path for entry in os.scandir(folder))

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, number):
        photo = Image.open(self.paths[number]).convert("RGB")
        photo.thumbnail((max_size, max_size))
        return functional.normalize(functional.to_tensor(photo), MEAN, STD)


def network():
    """Everything up to the last map."""
    torch.manual_seed(0)
    model = torchvision.models.get_model(name, weights=None).eval()
    return torch.nn.Sequential(*list(model.children())[:-2])


def usual():
    """Seconds of a usual script's loop."""
    model, vectors = network(), []
    start = time.perf_counter()
    with torch.no_grad():
        for photo in torch.utils.data.DataLoader(Photos(), batch_size=1, num_workers=1):
            pooled = model(photo).clamp(min=1e-6).pow(3).mean(dim=(2, 3)).pow(1 / 3)
            vectors.append(torch.nn.functional.normalize(pooled).squeeze(0).numpy())
    np.save(os.path.join(os.path.dirname(folder), "usual.npy"), np.stack(vectors))
    return time.perf_counter() - start


def forward():
    """Seconds of the network alone."""
    model, shapes = network().to(memory_format=torch.channels_last), {}
    for photo in Photos():
        shapes.setdefault(photo.shape, []).append(photo)
    batches = []
    for photos in shapes.values():
        for first in range(0, len(photos), BATCH):
            batches.append(torch.stack(photos[first : first + BATCH]).to(memory_format=torch.channels_last))
    with torch.inference_mode():
        model(batches[0])
        start = time.perf_counter()
        for batch in batches:
            model(batch)
        return time.perf_counter() - start


if __name__ == "__main__":
    print({"usual": usual, "forward": forward}[how]())
