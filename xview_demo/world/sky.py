"""The sky of a moment, as a table that cameras look up."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from .appearance import Moment, sun_vector

COLUMNS, ROWS = 640, 320  # of the table
_LOW = 0.12  # keeps the plane of the clouds from running to infinity at the horizon
_NEAREST, _FARTHEST = 1 / (1 + _LOW), 1 / _LOW


def sky_row(sine: Tensor) -> Tensor:
    """Row of the table, −1 at the horizon to 1 at the zenith, by the elevation's sine: even on the clouds' plane."""
    return 1 - 2 * (1 / (sine.clamp(0, 1) + _LOW) - _NEAREST) / (_FARTHEST - _NEAREST)


def bake_sky(moment: Moment, noise: Tensor) -> Tensor:
    """(1, 3, ROWS, COLUMNS + 1) colours; columns run clockwise from north round to north, corners are aligned.

    `noise` (512·512,) is the fine texture that the clouds are made of.
    """
    azimuth = torch.linspace(0, 2 * math.pi, COLUMNS + 1, device=noise.device)
    reach = torch.linspace(_FARTHEST, _NEAREST, ROWS, device=noise.device)[:, None]
    return sky_colour(moment, noise, azimuth, (1 / reach - _LOW).clamp(0, 1))[None]


def sky_colour(moment: Moment, noise: Tensor, azimuth: Tensor, up: Tensor) -> Tensor:
    """(3, V, A): horizon to zenith gradient, glow about the sun, clouds on a plane overhead.

    Azimuths (A,) in radians, `up` (V, 1) the elevations' sines.
    """
    tint, horizon = (f(moment, noise.device)[..., None] for f in (_tint, horizon_colour))
    zenith = _colour((0.30, 0.50, 0.80), noise.device) * (1 - moment.overcast)
    zenith = (zenith + moment.overcast * _colour((0.68, 0.71, 0.75), noise.device))[..., None] * tint
    east, north, flat = torch.sin(azimuth), torch.cos(azimuth), torch.sqrt(1 - up**2)
    x, y, z = sun_vector(moment)
    toward = ((east * x + north * y) * flat + up * z).clamp_(min=0)
    glow = (toward**60 * 0.5 + toward**6 * 0.12) * (1 - 0.7 * moment.overcast)
    colour = torch.lerp(horizon, zenith, up**0.55) + glow
    cloud = _clouds(moment, noise, east, north, flat / (up + _LOW))
    cover = torch.sigmoid((cloud - 2.2 * (0.55 - moment.clouds)) * 2.5)
    cover *= (up / 0.15).clamp(0, 1) * (0.85 * min(1.0, moment.clouds * 2))
    return colour.lerp_((0.93 - 0.22 * moment.overcast + 0.035 * cloud) * tint, cover).clamp_(0, 1)


def _clouds(moment: Moment, noise: Tensor, east: Tensor, north: Tensor, away: Tensor) -> Tensor:
    """(V, A) density of the clouds in the directions (A,), `away` (V, 1) on their plane."""
    shift = moment.noise_seed % 509 / 509
    total = torch.zeros(len(away), len(east), device=noise.device)
    for scale, weight in ((0.02, 1.1), (0.07, 0.6)):
        places = torch.stack([east * (away * scale) + shift, north * (away * scale)], -1)
        grid = places - 2 * torch.round(places / 2)
        total += weight * F.grid_sample(noise.view(1, 1, 512, 512), grid[None], align_corners=False)[0, 0]
    return total


def _colour(rgb: tuple[float, float, float], device: torch.device) -> Tensor:
    return torch.tensor(rgb, device=device)[:, None]


def _tint(moment: Moment, device: torch.device) -> Tensor:
    """(3, 1) the sunlight's warmth."""
    return _colour((1 + 0.04 * moment.warmth, 1.0, 1 - 0.04 * moment.warmth), device)


def horizon_colour(moment: Moment, device: torch.device) -> Tensor:
    """(3, 1) colour of the sky at the horizon, and of the haze."""
    clear, grey = _colour((0.80, 0.86, 0.92), device), _colour((0.80, 0.81, 0.83), device)
    return ((1 - moment.overcast) * clear + moment.overcast * grey) * _tint(moment, device)


def hazed(moment: Moment, colour: Tensor, distance: Tensor) -> Tensor:
    """Colours (3, N) faded with the distance (N,) or () in metres."""
    return torch.lerp(colour, horizon_colour(moment, colour.device), 1 - torch.exp(distance / -moment.haze))
