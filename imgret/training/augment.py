"""Views of a photo that a network should take for the same: cut out, mirrored, turned, in other colours. Each is drawn by its number."""

import contextlib
import dataclasses
import math

import numpy as np

from imgret import registry
from imgret.errors import UsageError
from imgret.networks.params import LARGEST
from imgret.registry import param
from imgret.seeds import seed_of

# drawn of every view, in this order, whatever is switched on: to change one thing leaves all others as they are
DRAWN = (
    "area",
    "ratio",
    "x",
    "y",
    "mirror",
    "brightness",
    "contrast",
    "saturation",
    "hue",
    "grey",
    "turn",
    *(f"slant{n}" for n in range(8)),
)
PRESETS = {
    "none": {},
    "light": {"crop_scale": (0.4, 1.0), "jitter": (0.3, 0.3, 0.2)},
    "strong": {"crop_scale": (0.35, 1.0), "jitter": (0.3, 0.3, 0.3), "hue": 0.05, "grey": 0.1, "turn": 10.0, "slant": 0.15},
}
PLAIN = {"crop_scale": (1.0, 1.0), "crop_ratio": (3 / 4, 4 / 3), "mirror": 0.0, "jitter": (0.0,) * 3, "hue": 0.0, "grey": 0.0}
PLAIN |= {"turn": 0.0, "slant": 0.0}


@dataclasses.dataclass(frozen=True)
class Params(registry.Params):
    """What augmented views are like; whatever is none is as `augment` says."""

    augment: str = param("strong", "how much views of a photo differ", choices=tuple(PRESETS))
    crop_size: int = param(0, "sides of an augmented view in pixels; 0: max_size", minimum=0, maximum=LARGEST)
    crop_scale: tuple[float, ...] | None = param(None, "share of the photo's area that is cut out: at least, at most", above=0, maximum=1)
    crop_ratio: tuple[float, ...] | None = param(None, "width by height of what is cut out: at least, at most", above=0, maximum=10)
    mirror: float | None = param(None, "share of views that are mirrored", minimum=0, maximum=1)
    jitter: tuple[float, ...] | None = param(
        None, "brightness, contrast, saturation: each is changed by a factor of up to so much from 1", minimum=0, maximum=1
    )
    hue: float | None = param(None, "colours are turned by up to this share of the circle", minimum=0, maximum=0.5)
    grey: float | None = param(None, "share of views that lose their colours", minimum=0, maximum=1)
    turn: float | None = param(None, "views are turned by up to so many degrees", minimum=0, maximum=45)
    slant: float | None = param(None, "corners are moved by up to this share of the sides, as by another viewpoint", minimum=0, maximum=0.5)

    def __post_init__(self):
        super().__post_init__()
        for name, count in (("crop_scale", 2), ("crop_ratio", 2), ("jitter", 3)):
            value = getattr(self, name)
            if value is not None and len(value) != count:
                raise UsageError(f"`{name}` must be {'two' if count == 2 else 'three'} numbers, got {len(value)}")
            if value is not None and count == 2 and value[0] > value[1]:
                raise UsageError(f"`{name}` must be the least and the most, got {value[0]:g} and {value[1]:g}")
        if self.augment == "none":
            for name in PLAIN:
                if getattr(self, name) is not None:
                    raise UsageError(f"`{name}` has no effect with augment=none: leave it out")


@contextlib.contextmanager
def one_thread():
    """Context manager: torch works on one thread."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


class Augment:
    """Makes views of photos.

    Parameters
    ----------
    params : Params
    max_size : int
        Longest side of a photo as a network is shown it.

    Attributes
    ----------
    size : int
        Sides of a view.
    longest : int
        Longest side that photos should have from which views are made: with more pixels no view gets any better.
    """

    Params = Params

    def __init__(self, params, max_size):
        self.params = Params(**{field.name: getattr(params, field.name) for field in dataclasses.fields(Params)})
        self.max_size, self.size = max_size, params.crop_size or max_size
        chosen = PLAIN | PRESETS[params.augment]
        chosen |= {name: getattr(params, name) for name in PLAIN if getattr(params, name) is not None}
        self._scale, self._ratio, self._jitter = (chosen[name] for name in ("crop_scale", "crop_ratio", "jitter"))
        self._mirror, self._hue, self._grey = (chosen[name] for name in ("mirror", "hue", "grey"))
        self._turn, self._slant = chosen["turn"], chosen["slant"]
        self.longest = math.ceil(self.size / math.sqrt(self._scale[0]))

    @property
    def active(self):
        """Whether views differ from the photo at all."""
        return self.params.augment != "none"

    def view(self, pixels, number, key):
        """One view of a photo.

        Parameters
        ----------
        pixels : ndarray, shape (H, W, 3), uint8
            RGB, no larger than `longest` for speed.
        number : int
            0 is the photo as it is, reduced to `max_size`; so are all where `augment` is none. Others are drawn.
        key : tuple of (int, bytes)
            Seed and name: with `number`, all that a view depends on beside its photo.

        Returns
        -------
        ndarray, shape (H, W, 3), uint8
            Of a drawn view, `size` × `size`.
        """
        if number == 0 or not self.active:
            from imgret import images

            return images.reduce(pixels, self.max_size)
        seed, name = key
        values = np.random.default_rng(seed_of(seed, "augment", number, name)).random(len(DRAWN))
        with one_thread():  # sums over a view differ in their last digits by the number of threads
            return self._drawn(pixels, dict(zip(DRAWN, values.tolist(), strict=True)))

    def _drawn(self, pixels, drawn):
        from torchvision.transforms.v2 import functional

        x = _planes(np.require(pixels, requirements="W"))
        top, left, height, width = self._box(*pixels.shape[:2], drawn)
        # cut out and reduced first: all else is done to the pixels that are left
        x = functional.resized_crop(x, top, left, height, width, [self.size, self.size], antialias=True)
        if self._turn or self._slant:
            x = _planes(seen_from(_pixels(x), self._corners(drawn)))
        if drawn["mirror"] < self._mirror:
            x = functional.horizontal_flip(x)
        pixels = _pixels(self._coloured(functional, x, drawn))
        if self._hue and drawn["grey"] >= self._grey:
            return other_hue(pixels, self._hue * (2 * drawn["hue"] - 1))
        return pixels

    def _box(self, height, width, drawn):
        """Top, left, height and width of what is cut out: of a drawn area and ratio, as far as it fits."""
        least, most = self._scale
        area = (least + (most - least) * drawn["area"]) * height * width
        least, most = (math.log(value) for value in self._ratio)
        ratio = math.exp(least + (most - least) * drawn["ratio"])
        wide, high = min(width, math.sqrt(area * ratio)), min(height, math.sqrt(area / ratio))
        wide, high = max(1, round(wide)), max(1, round(high))
        return round(drawn["y"] * (height - high)), round(drawn["x"] * (width - wide)), high, wide

    def _corners(self, drawn):
        """Where the corners of a view are in what was cut out: turned and moved, none of them outside."""
        side = self.size - 1
        corners = np.array([[0, 0], [side, 0], [side, side], [0, side]]) - side / 2
        angle = math.radians(self._turn * (2 * drawn["turn"] - 1))
        turned = corners @ np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
        turned *= side / 2 / max(np.abs(turned).max(), 1)
        moved = 1 - self._slant * np.array([drawn[f"slant{n}"] for n in range(8)]).reshape(4, 2)
        return np.round(turned * moved + side / 2).astype(int).tolist()

    def _coloured(self, functional, x, drawn):
        steps = (functional.adjust_brightness, functional.adjust_contrast, functional.adjust_saturation)
        for adjust, strength, name in zip(steps, self._jitter, ("brightness", "contrast", "saturation"), strict=True):
            if strength:
                x = adjust(x, 1 + strength * (2 * drawn[name] - 1))
        return functional.rgb_to_grayscale(x, 3) if drawn["grey"] < self._grey else x


def seen_from(pixels, corners):
    """What lies between four corners, drawn out to the whole: `perspective` of torchvision, by OpenCV at a fifth of the cost.

    Parameters
    ----------
    pixels : ndarray, shape (S, S, 3), uint8
    corners : list of list of int
        x, y of top left, top right, bottom right, bottom left.

    Returns
    -------
    ndarray, shape (S, S, 3), uint8
    """
    import cv2

    side = len(pixels) - 1
    whole = np.float32([[0, 0], [side, 0], [side, side], [0, side]])
    change = cv2.getPerspectiveTransform(np.float32(corners), whole)
    return cv2.warpPerspective(pixels, change, pixels.shape[1::-1], flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)


def other_hue(pixels, share):
    """Colours turned by a share of the circle: `adjust_hue` of torchvision on 8-bit hues, as it has them for PIL's images.

    Parameters
    ----------
    pixels : ndarray, shape (H, W, 3), uint8
    share : float

    Returns
    -------
    ndarray, shape (H, W, 3), uint8
    """
    import cv2

    hsv = cv2.cvtColor(pixels, cv2.COLOR_RGB2HSV_FULL)
    hsv[..., 0] += np.uint8(round(256 * share) % 256)  # 256 of them are the circle
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB_FULL)


def _planes(pixels):
    """Pixels as torchvision takes them: a tensor (3, H, W), which shares them."""
    import torch

    return torch.from_numpy(pixels).permute(2, 0, 1)


def _pixels(planes):
    return np.ascontiguousarray(planes.permute(1, 2, 0).numpy())
