"""The peers of bench_train.py: a bare PyTorch loop, and what one finds in most repositories."""

import torch
import torchvision
from PIL import Image
from torchvision.transforms import v2

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
MARGIN, WIDE, RATE, DECAY = 0.7, 7, 3e-5, 1e-4


class Gem(torch.nn.Module):
    """Generalised mean with a learned exponent, L2-normalised."""

    def __init__(self):
        super().__init__()
        self.p = torch.nn.Parameter(torch.tensor(3.0))

    def forward(self, maps):
        """Vectors of maps."""
        pooled = maps.clamp(min=1e-6).pow(self.p).mean(dim=(2, 3)).pow(1 / self.p)
        return torch.nn.functional.normalize(pooled)


def network(weights, frozen):
    """What does not learn, what does, and its optimiser; batch norm is as it was trained."""
    model = torchvision.models.mobilenet_v2()
    model.load_state_dict(torch.load(weights, weights_only=True))
    features = model.features.eval()
    cut = int(frozen.rpartition(".")[2]) + 1 if frozen else 0
    lower, upper = features[:cut].requires_grad_(False), torch.nn.Sequential(*features[cut:], Gem())
    for module in upper.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.requires_grad_(False)
    learning = [parameter for parameter in upper.parameters() if parameter.requires_grad]
    return lower, upper, torch.optim.AdamW(learning, lr=RATE, weight_decay=DECAY)


class Bare:
    """A loop over tensors in memory: the network from photos, or from the frozen maps on, the loss, and nothing else."""

    def __init__(self, weights, device, frozen, precision):
        self._device = torch.device(device)
        self._lower, self._upper, self._optimiser = network(weights, frozen)
        for part in (self._lower, self._upper):
            part.to(device=self._device, memory_format=torch.channels_last)
        self._precision = getattr(torch, precision)

    def tensors(self, photos):
        """Photos as it wants them: (B, 3, H, W), or their maps."""
        x = torch.stack([torch.from_numpy(photo) for photo in photos]).permute(0, 3, 1, 2).float() / 255
        x = ((x - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]).to(self._device)
        with torch.no_grad():
            return self._lower(x.contiguous(memory_format=torch.channels_last))

    def step(self, x):
        """The loss of one step: d² / 2 of what matches, max(0, margin - d)² / 2 of what does not."""
        self._optimiser.zero_grad()
        with torch.autocast(self._device.type, dtype=self._precision, enabled=self._precision != torch.float32):
            vectors = self._upper(x).float().unflatten(0, (-1, WIDE))
            distances = torch.linalg.vector_norm(vectors[:, :1] - vectors[:, 1:], dim=2)
            apart = (MARGIN - distances[:, 1:]).clamp_min(0).square().sum(dim=1)
            loss = (distances[:, 0].square() + apart).mean() / 2
        loss.backward()
        self._optimiser.step()
        return loss.item()


class Photos(torch.utils.data.Dataset):
    """Augmented photos of files."""

    def __init__(self, paths, side):
        self._paths = paths
        self._transform = v2.Compose(
            [
                v2.RandomResizedCrop(side, scale=(0.35, 1.0), antialias=True),
                v2.RandomPerspective(0.15, p=1.0),
                v2.RandomRotation(10),
                v2.RandomHorizontalFlip(),
                v2.ColorJitter(0.3, 0.3, 0.3, 0.05),
                v2.RandomGrayscale(0.1),
                v2.ToImage(),
                v2.ToDtype(torch.float32, scale=True),
                v2.Normalize(MEAN, STD),
            ]
        )

    def __len__(self):
        return len(self._paths)

    def __getitem__(self, number):
        return self._transform(Image.open(self._paths[number]).convert("RGB"))


class Usual:
    """The usual script: as `Bare`, from files, in the usual layout of memory."""

    def __init__(self, weights, paths, batches, side, frozen):
        from pytorch_metric_learning.losses import ContrastiveLoss

        self._lower, self._upper, self._optimiser = network(weights, frozen)
        self._loss = ContrastiveLoss(pos_margin=0, neg_margin=MARGIN)
        self._loader = torch.utils.data.DataLoader(
            Photos(paths, side), batch_sampler=batches, num_workers=1, persistent_workers=True, multiprocessing_context="spawn"
        )

    def epoch(self):
        """Train on all batches."""
        for photos in self._loader:
            tuples = torch.arange(len(photos)) // WIDE
            labels = torch.where(torch.arange(len(photos)) % WIDE < 2, tuples, len(photos) + torch.arange(len(photos)))
            self._optimiser.zero_grad()
            with torch.no_grad():
                maps = self._lower(photos)
            self._loss(self._upper(maps), labels).backward()
            self._optimiser.step()
