"""A network file as `train` makes it, of made-up tensors and a made-up history."""

import json

import numpy as np
from safetensors.numpy import save_file

from imgret.networks import trained

HISTORY = {
    "measure": "map",
    "protocol": "groups",
    "validation": {"photos": 120, "queries": 60, "held_out": True},
    "best": 2,
    "epochs": [
        {"epoch": 0, "step": 0, "score": 0.641, "figures": {"map": 0.641, "p@1": 0.7}, "loss": None, "rate": None},
        {"epoch": 1, "step": 3, "score": 0.66, "figures": {"map": 0.66, "p@1": 0.71}, "loss": 0.213, "rate": 3e-05},
        {"epoch": 2, "step": 6, "score": 0.6725, "figures": {"map": 0.6725, "p@1": 0.74}, "loss": 0.15, "rate": 1.5e-05},
        {"epoch": 3, "step": 9, "score": 0.65, "figures": {"map": 0.65, "p@1": 0.7}, "loss": 0.1, "rate": 3e-06},
    ],
    "steps": [[1 + step // 3, step + 1, 0.25 - step / 50, 3e-05 * (1 - step / 10)] for step in range(9)],
    "examples": [
        {"epoch": epoch, "query": "a/0.png", "positives": ["a/1.png"], "negatives": ["b/2.png", "b/3.png"]} for epoch in (1, 2, 3)
    ],
}
TENSORS = {"backbone.features.0.weight": np.arange(6, dtype=np.float32).reshape(1, 2, 3), "head.p": np.array([3.0], dtype=np.float32)}
DOCUMENTS = {
    "params": {"step": "train", "method": "contrastive", "version": 1, "params": {"epochs": 3, "rate": 3e-05}, "truth": "groups"},
    "inputs": [{"path": "photos", "kind": "photos", "content": "ab" * 32}, {"path": "t.csv", "kind": "truth", "content": "cd" * 32}],
    "extract": {"model": "mobilenet_v2", "layer": [], "pool": "gem", "p": 2.75, "max_size": 320},
    "history": HISTORY,
    "failed": [{"name": "c/bad.png", "code": "truncated", "reason": "the file ends early"}],
    "generated_by": {"imgret": "0.1.0", "torch": "2.6.0"},
}


def network(path, tensors=TENSORS, recorded=None, **changed):
    """Write one; texts of the metadata that are given stand for its own, None for none."""
    texts = {name: json.dumps(value) for name, value in DOCUMENTS.items()}
    texts |= {"format": "imgret", "kind": "network", "schema_version": "1", "recipe": "12" * 32}
    texts["content"] = trained.content_of(tensors if recorded is None else recorded)
    texts = {name: text for name, text in (texts | changed).items() if text is not None}
    save_file(tensors, str(path), texts)
    return path
