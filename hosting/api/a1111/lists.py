"""What AUTOMATIC1111's clients ask for before they draw: models, samplers, and empty lists."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Depends

from hosting.api.a1111 import enlarging, models
from hosting.api.a1111.documents import (
    EmbeddingDocument,
    EmbeddingsDocument,
    LoraDocument,
    ModelDocument,
    OptionsDocument,
    SamplerDocument,
    SchedulerDocument,
    UpscalerDocument,
)
from hosting.api.a1111.errors import ROOT
from hosting.api.a1111.requests import Options
from hosting.api.auth import Admitted, caller_of
from hosting.api.problems import invalid
from hosting.queue.inputs import Fault
from infotext import samplers

routes = APIRouter(
    prefix=ROOT.rstrip("/"), tags=["AUTOMATIC1111"], dependencies=[Depends(caller_of)]
)
EMPTY: dict[str, Any] = {
    "latent-upscale-modes": [],
    "sd-vae": [],
    "hypernetworks": [],
    "face-restorers": [],
    "realesrgan-models": [],
    "prompt-styles": [],
    "script-info": [],
    "extensions": [],
    "scripts": {"txt2img": [], "img2img": []},
    "cmd-flags": {},
    "memory": {"ram": {}, "cuda": {}},
}
"""By path, answers about what there is nothing of here."""
_UNKNOWN: EmbeddingDocument = {
    "step": None,
    "sd_checkpoint": None,
    "sd_checkpoint_name": None,
    "shape": None,
    "vectors": None,
}
SCHEDULERS = (
    ("automatic", "Automatic", -1.0),
    ("karras", "Karras", 7.0),
    ("exponential", "Exponential", -1.0),
    ("sgm_uniform", "SGM Uniform", -1.0),
)
"""Names, labels, and the exponent of Karras' spacing."""
REFRESHED = ("checkpoints", "vae", "loras")


@routes.get("/sd-models")
async def sd_models(caller: Admitted) -> list[ModelDocument]:
    """Return the models that draw here and the caller may ask for, the usual one first."""
    return [
        {
            "title": one.name,
            "model_name": one.name,
            "hash": None,
            "sha256": None,
            "filename": one.name,
            "config": None,
        }
        for one in models.served(caller.services)
        if caller.limits.allow(one.version.model, one.name)
    ]


@routes.get("/options")
async def get_options(caller: Admitted) -> OptionsDocument:
    """Return the settings: above all the model that draws unless a request names another."""
    return {
        "sd_model_checkpoint": models.served(caller.services)[0].name,
        "sd_checkpoint_hash": "",
        "sd_vae": "Automatic",
        "samples_format": "png",
        "CLIP_stop_at_last_layers": 1,
    }


@routes.post("/options")
async def set_options(asked: Options, caller: Admitted) -> None:
    """Accept the settings that are, and refuse to change the model; others have no effect."""
    usual = models.served(caller.services)[0]
    name = asked.sd_model_checkpoint
    found = models.chosen(caller.services, name) if name else usual
    if found is None or found.name != usual.name:
        others = [one.name for one in models.served(caller.services)]
        sentence = f"There is no model {name[:100]!r} here; there are {', '.join(others)}"
        if found is not None:
            sentence = (
                f"{usual.name} draws unless a request names another; name {found.name} as "
                "override_settings.sd_model_checkpoint of each request"
            )
        raise invalid([Fault("enum", "sd_model_checkpoint", sentence)])


@routes.get("/samplers")
async def list_samplers() -> list[SamplerDocument]:
    """Return the samplers that are here, by AUTOMATIC1111's names."""
    return [
        {"name": name, "aliases": list(samplers.ALIASES[scheduler]), "options": {}}
        for scheduler, name in samplers.SAMPLERS.items()
    ]


@routes.get("/schedulers")
async def list_schedulers() -> list[SchedulerDocument]:
    """Return the ways to space the timesteps; the first and the last are the same."""
    return [
        {
            "name": name,
            "label": label,
            "aliases": None,
            "default_rho": rho,
            "need_inner_model": False,
        }
        for name, label, rho in SCHEDULERS
    ]


@routes.get("/upscalers")
async def upscalers(caller: Admitted) -> list[UpscalerDocument]:
    """Return the ways to enlarge an image: filters, networks, the upscaler where it is served."""
    upscaler = models.of_task(caller.services, models.UPSCALE)
    drawing = models.of_task(caller.services, models.DRAWING[0])
    names = [*enlarging.FILTERS, *(drawing.upscalers if drawing else ())]
    names += [upscaler.name] if upscaler else []
    return [
        {"name": name, "model_name": None, "model_path": None, "model_url": None, "scale": 4.0}
        for name in names
    ]


@routes.get("/loras")
async def list_loras(caller: Admitted) -> list[LoraDocument]:
    """Return the LoRAs that the usual model can use and you may, with their trigger words."""
    usual = models.served(caller.services)[0]
    found = usual.endpoint.adapters.for_names(caller.loras).loras
    return [
        {
            "name": one.name,
            "alias": one.name,
            "path": "",
            "metadata": {"ss_output_name": one.name}
            | ({"modelspec.trigger_phrase": one.trigger} if one.trigger else {}),
        }
        for one in found
        if one.reason is None
    ]


@routes.get("/embeddings")
async def list_embeddings(caller: Admitted) -> EmbeddingsDocument:
    """Return the embeddings that the usual model can use, and those that it skips."""
    usual = models.served(caller.services)[0]
    document: EmbeddingsDocument = {"loaded": {}, "skipped": {}}
    for one in usual.endpoint.adapters.embeddings:
        kind = document["loaded"] if one.reason is None else document["skipped"]
        for token in one.tokens:
            kind[token] = _UNKNOWN
    return document


def _add_empty(path: str, answer: Any) -> None:
    async def nothing() -> Any:
        return answer

    what = path.replace("-", " ")
    routes.add_api_route(f"/{path}", nothing, summary=f"Nothing: there are no {what} here")


for _path, _answer in EMPTY.items():
    _add_empty(_path, _answer)


def _add_refresh(what: str) -> None:
    async def nothing() -> None:
        """Do nothing: what is new is told with the next prediction."""

    routes.add_api_route(
        f"/refresh-{what}", nothing, methods=["POST"], summary=f"Refresh {what}: does nothing"
    )


for _what in REFRESHED:
    _add_refresh(_what)
