import dataclasses
import numpy as np
from imgret import registry
from imgret.registry import param
from imgret.seeds import seed_of
class Augment:
    @dataclasses.dataclass(frozen=True)
    class Params(registry.Params):
        augment: str = param("light", "x", choices=("none","light","strong"))
        crop_size: int = param(0, "x", minimum=0, maximum=4096)
        crop_least: float = param(0.35, "x", above=0, maximum=1)
    def __init__(self, params): self.params = params
    def view(self, pixels, number, key):
        import torch
        from torchvision.transforms import v2
        if number == 0: return pixels
        size = self.params.crop_size or self.params.max_size
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed_of(key[0], "augment", number, key[1]))
            x = torch.from_numpy(np.ascontiguousarray(pixels)).permute(2,0,1)
            t = [v2.RandomResizedCrop(size, scale=(self.params.crop_least, 1.0), antialias=True), v2.RandomHorizontalFlip(0.5 if self.params.augment=="strong" else 0.0)]
            t += [v2.ColorJitter(.3,.3,.3,.05), v2.RandomGrayscale(.1)]
            if self.params.augment == "strong": t.insert(0, v2.RandomPerspective(.3, .5)); t.insert(0, v2.RandomRotation(15))
            for f in t: x = f(x)
        return np.ascontiguousarray(x.permute(1,2,0).numpy())
