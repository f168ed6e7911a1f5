"""Vision transformers: rows of tokens as maps, photos of any size."""

import math

MOST = 4096  # pixels of the side that a file's position embedding may be for


def any_size(model, trainable=False):
    """Let a vision transformer take photos of any size: its position embedding is resized to the photo's grid of patches.

    Each pass then changes the model; one that is `trainable` keeps the embedding as the parameter it is, and passes gradients to it.
    """
    import torch

    grid, encoder = model.image_size // model.patch_size, model.encoder
    learned, rows_columns = encoder.pos_embedding.detach(), []

    def process(x):
        rows, columns = (side // model.patch_size for side in x.shape[2:])
        if not rows or not columns:
            raise ValueError("the photo is smaller than a patch")
        if trainable:
            rows_columns[:] = rows, columns
        else:
            place = _resized(learned.to(x.device, torch.float32), grid, rows, columns).to(x.dtype)
            encoder.pos_embedding = torch.nn.Parameter(place, requires_grad=False)
        return model.conv_proj(x).flatten(2).transpose(1, 2)

    def encode(tokens):
        return encoder.ln(encoder.layers(encoder.dropout(tokens + _resized(encoder.pos_embedding, grid, *rows_columns))))

    model._process_input = process
    if trainable:
        encoder.forward = encode


def _resized(place, grid, rows, columns):
    """A position embedding (1, 1 + grid², C) for another grid of patches; that of the class token stays."""
    import torch

    patches = place[:, 1:].reshape(1, grid, grid, -1).permute(0, 3, 1, 2)
    if (rows, columns) != (grid, grid):
        patches = torch.nn.functional.interpolate(patches, size=(rows, columns), mode="bicubic", align_corners=False)
    return torch.cat([place[:, :1], patches.flatten(2).transpose(1, 2)], dim=1)


def as_map(tokens, photo, patch):
    """Tokens (B, 1 + H W, C) of patches of a photo (height, width) as a map (B, C, H, W), without the class token."""
    rows, columns = (side // patch for side in photo)
    return tokens[:, 1:].transpose(1, 2).reshape(len(tokens), -1, rows, columns)


def size_of(name, state):
    """The option of torchvision's builder that says for which photos weights were learned; {} if they do not tell."""
    place = state.get("encoder.pos_embedding")
    if place is None or place.ndim != 3:
        return {}
    patch = int(name.rpartition("_")[2])  # vit_b_16
    side = math.isqrt(max(0, place.shape[1] - 1)) * patch
    return {"image_size": side} if patch <= side <= MOST else {}
