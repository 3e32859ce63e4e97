"""The body of a webhook's call: a prediction in the form of the API that asked for it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from hosting.api.deepinfra import documents as deepinfra
from hosting.api.replicate import documents as replicate
from hosting.net.links import Links
from hosting.prediction import Prediction
from hosting.published_models import PublishedModels
from hosting.states import Status
from hosting.storage.files import Files


def renderer(links: Links, files: Files, models: PublishedModels) -> Callable[[Prediction], object]:
    """Make a prediction's document.

    Args:
        links: makes those in the document.
        files: has the pictures, for receivers that are sent them.
        models: say in which form a version has its output.
    """

    def render(prediction: Prediction) -> object:
        if prediction.api == "deepinfra":
            names = prediction.output if prediction.status is Status.SUCCEEDED else []
            return deepinfra.webhook_body(prediction, files.data_urls(prediction.id, names))
        return replicate.prediction(prediction, partial(links.sign, prediction.source), models)

    return render
