"""The class under the pointer: a page-wide script, and the labels it reads beside a picture."""

import html
import json
from typing import Any

import numpy as np
from PIL import Image

COLUMNS = 256  # of the labels that go into the page
DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"

JS = """
() => {
  const tip = document.createElement('div');
  tip.id = 'class-tip';
  document.body.appendChild(tip);
  document.addEventListener('mousemove', (event) => {
    tip.style.display = 'none';
    for (const data of document.querySelectorAll('.labels')) {
      const box = document.querySelector(data.dataset.of);
      const picture = box && box.querySelector('img');
      if (!picture || !picture.naturalWidth) continue;
      const frame = picture.getBoundingClientRect();
      const scale = Math.min(frame.width / picture.naturalWidth, frame.height / picture.naturalHeight);
      const width = picture.naturalWidth * scale, height = picture.naturalHeight * scale;
      const x = (event.clientX - frame.left - (frame.width - width) / 2) / width;
      const y = (event.clientY - frame.top - (frame.height - height) / 2) / height;
      if (!(x >= 0 && x < 1 && y >= 0 && y < 1)) continue;
      const columns = Number(data.dataset.columns), rows = data.dataset.labels.length / columns;
      const digit = data.dataset.labels[Math.floor(y * rows) * columns + Math.floor(x * columns)];
      tip.textContent = JSON.parse(data.dataset.classes)[parseInt(digit, 36)];
      tip.style.cssText = `display:block;left:${event.clientX + 14}px;top:${event.clientY + 14}px`;
    }
  });
}
"""

CSS = """
#class-tip { display: none; position: fixed; z-index: 1000; padding: 3px 9px; border-radius: 6px; font-size: .86rem;
             pointer-events: none; color: #fff; background: rgba(17, 24, 39, .88); }
"""


def labels(of: str, segmentation: Any) -> str:
    """A hidden piece of HTML that tells the script which class lies where in a picture.

    Args:
        of: CSS selector of the box that shows the picture, with the frame of the labels.
        segmentation: a `Segmentation`.
    """
    rows, columns = segmentation.labels.shape
    width = min(columns, COLUMNS)
    height = max(1, round(rows * width / columns))
    small = Image.fromarray(segmentation.labels).resize((width, height), Image.Resampling.NEAREST)
    text = "".join(DIGITS[n] for n in np.asarray(small).ravel())
    names = html.escape(json.dumps(list(segmentation.classes)), quote=True)
    return (
        f'<div class="labels" hidden data-of="{html.escape(of, quote=True)}" data-columns="{width}" '
        f'data-classes="{names}" data-labels="{text}"></div>'
    )
