"""Errors in the form of AUTOMATIC1111's API."""

from __future__ import annotations

import json
from typing import Any

from fastapi.responses import Response

from hosting.api.problems import Problem

ROOT = "/sdapi/v1/"
"""The beginning of the API's paths."""
NAMES = {
    "num_inference_steps": "steps",
    "guidance_scale": "cfg_scale",
    "strength": "denoising_strength",
    "image": "init_images",
    "scheduler": "sampler_name",
    "result_size": "width, height",
    "invert_mask": "inpainting_mask_invert",
    "only_masked": "inpaint_full_res",
    "only_masked_padding": "inpaint_full_res_padding",
    "spacing": "scheduler",
    "refine_scale": "hr_scale",
    "refine_strength": "denoising_strength",
    "refine_steps": "hr_second_pass_steps",
    "upscaler": "hr_upscaler",
    "loras": "prompt",
}
"""Inputs of ours, and what the API calls them."""


def response(problem: Problem) -> Response:
    """Return the answer to an exception: FastAPI's `detail`, beside what the API adds to it."""
    detail: Any = problem.detail
    if problem.faults:
        detail = [
            {
                "loc": ["body", NAMES.get(name := fault.field.removeprefix("input."), name)],
                "msg": fault.description,
                "type": fault.type,
            }
            for fault in problem.faults
        ]
    kind = "RequestValidationError" if problem.faults else "HTTPException"
    status = 422 if problem.faults else problem.status
    document = {"error": kind, "detail": detail, "body": "", "errors": problem.detail}
    headers = {name.lower(): text for name, text in problem.headers.items()}
    if "www-authenticate" in headers:
        headers["www-authenticate"] = "Basic"
    # In ASCII: what is quoted from a request may be no Unicode, such as half a pair.
    text = json.dumps(document)
    return Response(text, status, headers, media_type="application/json")
