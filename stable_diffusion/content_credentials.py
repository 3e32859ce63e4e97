"""Content Credentials: the signed C2PA manifest in a picture's file that says how it was made.

Nothing is asked over the network: no time-stamp server, no list of revoked certificates.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from typing import Any

from PIL import Image

from stable_diffusion import __version__
from stable_diffusion.catalogue import SetupError, Weights
from stable_diffusion.decoding import FORMATS
from stable_diffusion.events import Picture
from stable_diffusion.request import Request

INSTALL = ".venv/bin/python -m pip install -r requirements-c2pa.txt"
SOFTWARE = {"name": "stable-diffusion", "version": __version__}
SOURCE_TYPES = "http://cv.iptc.org/newscodes/digitalsourcetype/"
"""The IPTC's vocabulary of where pictures come from."""
GENERATED, COMPOSITE = "trainedAlgorithmicMedia", "compositeWithTrainedAlgorithmicMedia"
IMAGE, MODEL = "image", "model"
"""The ids of a manifest's ingredients."""
LIBRARY_SETTINGS = {
    "verify": {
        "verify_after_sign": False,
        "verify_trust": True,
        "remote_manifest_fetch": False,
        "ocsp_fetch": False,
    },
    "builder": {"thumbnail": {"enabled": False}},
}
UNTRUSTED = "signingCredential.untrusted"
"""The code of a certificate that is on none of the reader's lists: no fault of the file."""


class Signer:
    """Signs the files of pictures, from any thread.

    Args:
        environment: names the certificate (`certificates.find`).

    Raises:
        SetupError: when what signs is not installed, or the certificate can't sign.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        if not is_installed():
            raise SetupError(f"C2PA is on, but c2pa-python is not installed; run: {INSTALL}")
        import c2pa

        from stable_diffusion import certificates

        certificate = certificates.find(environment)
        try:
            self._signer = c2pa.Signer.from_info(
                c2pa.C2paSignerInfo(certificate.algorithm, certificate.chain, certificate.key, None)
            )
            self._context = c2pa.Context.from_dict(LIBRARY_SETTINGS)
            reason = self._fault()
        except c2pa.C2paError as error:
            reason = str(error)
        if reason:
            raise SetupError(
                f"C2PA_CERTIFICATE and C2PA_KEY can't sign pictures: {reason}. Give a certificate "
                "for signing documents or e-mail with those that issued it, and its key"
            )

    def _fault(self) -> str:
        """Return what is wrong with what is signed here; an empty text if nothing is."""
        file = io.BytesIO()
        Image.new("RGB", (8, 8)).save(file, "PNG")
        created = {"action": "c2pa.created", "digitalSourceType": SOURCE_TYPES + GENERATED}
        actions = {"label": "c2pa.actions.v2", "data": {"actions": [created]}}
        manifest = {"claim_generator_info": [SOFTWARE], "assertions": [actions]}
        found = read(self.sign(file.getvalue(), "png", manifest))
        return "; ".join(found["faults"]) if found else "no manifest was written"

    def sign(self, file: bytes, file_format: str, manifest: Mapping[str, Any]) -> bytes:
        """Return a picture's file with a signed manifest, its pixels and metadata unchanged.

        Args:
            file_format: png, webp or jpg.
            manifest: its definition, as `manifest_of` returns it.
        """
        import c2pa

        signed = io.BytesIO()
        with c2pa.Builder.from_json(json.dumps(manifest), context=self._context) as builder:
            builder.sign(self._signer, file_format, io.BytesIO(file), signed)
        return signed.getvalue()


def signer_of(environment: Mapping[str, str]) -> Signer | None:
    """Return what signs pictures by the setting `C2PA`; None where it is off, as it is by default.

    Raises: as `Signer`, and SetupError for a value that is none.
    """
    setting = environment.get("C2PA")
    if setting not in (None, "", "on", "off"):
        raise SetupError(f"C2PA is {setting!r}; give on or off, or leave it empty for off")
    return Signer(environment) if setting == "on" else None


def manifest_of(request: Request, picture: Picture, weights: Weights) -> dict[str, Any]:
    """Return the definition of a picture's manifest: its actions, the software and the model.

    It has no prompt, and of an input image that there was one, not the image. The actions are
    those of C2PA 2.2 (18.15): without an image, or one that has no part in the result, it was
    created by the model; else the image was opened, and edited by the model: in all, or, where
    pixels of it are preserved, as a composite.
    """
    model: dict[str, Any] = {
        "title": weights.name,
        "relationship": "inputTo",
        "instance_id": MODEL,
        "data_types": [{"type": "c2pa.types.model"}],
    }
    image: dict[str, Any] = {"title": "image", "relationship": "parentOf", "instance_id": IMAGE}
    opened: dict[str, Any] = {"action": "c2pa.opened", "parameters": {"ingredientIds": [IMAGE]}}
    source = COMPOSITE if _preserves(picture) else GENERATED
    by_the_model = {
        "softwareAgent": SOFTWARE,
        "digitalSourceType": SOURCE_TYPES + source,
        "parameters": {"ingredientIds": [MODEL]},
    }
    if not _shows_the_image(request, picture, weights):
        ingredients, actions = [model], [{"action": "c2pa.created", **by_the_model}]
    elif picture.drawn_size is None:  # no step was run: it was only fitted
        ingredients, actions = [image], [opened, {"action": "c2pa.resized"}]
    else:
        ingredients, actions = [image, model], [opened, {"action": "c2pa.edited", **by_the_model}]
    return {
        "claim_generator_info": [SOFTWARE],
        "ingredients": ingredients,
        "assertions": [{"label": "c2pa.actions.v2", "data": {"actions": actions}}],
    }


def _shows_the_image(request: Request, picture: Picture, weights: Weights) -> bool:
    """Return whether the input image has a part in a picture (contract, 2.3)."""
    ignores = weights.task == "img2img" and request.strength == 1 and not request.mask
    return request.image is not None and not (ignores and not _preserves(picture))


def _preserves(picture: Picture) -> bool:
    """Return whether pixels of the input image are in a picture as they were."""
    return picture.generated is not None and picture.generated.getextrema()[0] == 0


def is_installed() -> bool:
    """Load the library by which manifests are written and read; return whether it is there."""
    try:
        import c2pa  # noqa: F401
    except ModuleNotFoundError:
        return False
    return True


def read(file: bytes) -> dict[str, Any] | None:
    """Return what the manifest in a picture's file says; None without one.

    That is `state` (`valid`, or `trusted` where the certificate is on a list of the library's, or
    `invalid`), `signed_by` and `software` (each null where it is not said), and `faults`, by which
    it is invalid.
    """
    import c2pa

    with Image.open(io.BytesIO(file), formats=FORMATS) as picture:
        file_format = str(picture.format).lower()
    try:
        context = c2pa.Context.from_dict(LIBRARY_SETTINGS)
        reader = c2pa.Reader.try_create(file_format, io.BytesIO(file), context=context)
        if reader is None:
            return None
        with reader:
            state = reader.get_validation_state()
            found = json.loads(reader.json())
    except c2pa.C2paError as error:
        return None if file_format == "bmp" else _unreadable(str(error))  # it can have none
    manifest = found["manifests"].get(found.get("active_manifest"), {})
    software: dict[str, Any] = next(iter(manifest.get("claim_generator_info", [])), {})
    return {
        "state": (state or "invalid").lower(),
        "signed_by": manifest.get("signature_info", {}).get("issuer"),
        "software": software.get("name"),
        "faults": [
            status.get("explanation") or status["code"]
            for status in found.get("validation_status", [])
            if status["code"] != UNTRUSTED
        ],
    }


def _unreadable(fault: str) -> dict[str, Any]:
    return {"state": "invalid", "signed_by": None, "software": None, "faults": [fault]}
