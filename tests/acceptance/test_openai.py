"""What OpenAI's API means by a mask comes out of a model that draws."""

from __future__ import annotations

import base64
import io

from PIL import Image, ImageChops

from tests.support.front_process import Front
from tests.support.pictures import EXAMPLES

EDITED = (32, 32, 96, 96)
"""The part that is edited, in px."""


def png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def test_what_is_transparent_in_a_mask_is_edited_and_the_rest_stays(front: Front) -> None:
    flower = Image.open(EXAMPLES / "flower.png").convert("RGB").resize((128, 128))
    mask = Image.new("RGBA", flower.size, (0, 0, 0, 255))
    mask.paste((0, 0, 0, 0), EDITED)
    with front.http("ada") as client:
        answer = client.post(
            "/v1/images/edits",
            data={"prompt": "a red rose", "size": "128x128", "seed": "1", "steps": "4"},
            files={"image": ("flower.png", png(flower)), "mask": ("mask.png", png(mask))},
        )
    assert answer.status_code == 200, answer.text
    data = base64.b64decode(answer.json()["data"][0]["b64_json"])
    changed = ImageChops.difference(Image.open(io.BytesIO(data)).convert("RGB"), flower)
    assert changed.getbbox() is not None
    left, top, right, bottom = changed.getbbox() or (0, 0, 0, 0)
    assert EDITED[0] <= left < right <= EDITED[2]
    assert EDITED[1] <= top < bottom <= EDITED[3]
