"""Webhooks: signed as Replicate signs them, and called again when nobody answers."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from functools import partial
from ipaddress import IPv4Network, IPv6Network
from urllib.parse import urlsplit

from hosting import log, tracing
from hosting.net import fetch
from hosting.prediction import Prediction
from hosting.queue.changes import within
from hosting.storage.database import Unavailable
from hosting.storage.store import Store

ANSWER_SECONDS = 10.0
"""The time in which a receiver must answer."""
AT_ONCE, EACH_AT_ONCE = 32, 4
"""Calls at the same time: of all tokens, and of each token. A prediction has one at most."""


def signature(secret: str, delivery_id: str, timestamp: int, body: bytes) -> str:
    """Return the value of the header `webhook-signature`.

    Source: https://replicate.com/docs/topics/webhooks/verify-webhook.

    Args:
        secret: `whsec_` and a key in base64.
        timestamp: seconds since 1970.
    """
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = f"{delivery_id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()


class Webhooks:
    """Calls the webhooks that are due.

    Args:
        render: makes what a receiver is sent, which becomes JSON. It may read files.
        allowed: networks that receivers may be in although they are not public.
        front_id: who calls.
    """

    def __init__(
        self,
        store: Store,
        render: Callable[[Prediction], object],
        allowed: tuple[IPv4Network | IPv6Network, ...],
        front_id: str,
    ) -> None:
        self._deliveries = store.deliveries
        self._render = render
        self._allowed = allowed
        self._front_id = front_id
        self._calls: dict[str, tuple[str, asyncio.Task[None]]] = {}
        """The tokens and tasks of the calls that are being made, by the predictions' ids."""
        self._news = asyncio.Event()

    def wake(self) -> None:
        """Something is due now."""
        self._news.set()

    async def run(self) -> None:
        """Call what is due, until cancelled."""
        try:
            while True:
                self._news.clear()
                for delivery_id, prediction_id, token_id in await self._deliveries.due(
                    list(self._calls), self._front_id, 2 * AT_ONCE
                ):
                    tokens = [token for token, _ in self._calls.values()]
                    if len(tokens) < AT_ONCE and tokens.count(token_id) < EACH_AT_ONCE:
                        call = asyncio.create_task(self._call(delivery_id))
                        self._calls[prediction_id] = token_id, call
                        call.add_done_callback(partial(self._called, prediction_id))
                await within(self._news, 1)
        finally:
            for _, call in self._calls.values():
                call.cancel()

    def _called(self, prediction_id: str, call: asyncio.Task[None]) -> None:
        del self._calls[prediction_id]
        if call.cancelled() or call.exception() is None:
            self.wake()
        else:  # it stays due
            fault = call.exception()
            log.error(
                "a webhook was not called",
                exception=None if isinstance(fault, Unavailable) else fault,
                reason=repr(fault),
                prediction=prediction_id,
            )

    async def _call(self, delivery_id: str) -> None:
        found = await self._deliveries.claim(delivery_id, self._front_id)
        if found is None:
            return
        prediction, secret, url = found
        body = json.dumps(await asyncio.to_thread(self._render, prediction)).encode()
        now = int(time.time())
        headers = {
            "content-type": "application/json",
            "user-agent": "stable-diffusion-webhooks",
            "webhook-id": delivery_id,
            "webhook-timestamp": str(now),
            "webhook-signature": signature(secret, delivery_id, now, body),
        }
        with tracing.span(prediction, "POST webhook", _about(url)) as span:
            try:
                status = await fetch.post(
                    url,
                    body,
                    {**headers, **tracing.headers()},
                    seconds=ANSWER_SECONDS,
                    allowed=self._allowed,
                    owner=prediction.token_id,
                )
                span.set_attribute("http.response.status_code", status)
                fault = "" if 200 <= status < 300 else f"it answered {status}"
                reason = str(status)
            except fetch.FetchError as error:
                fault, reason = str(error), type(error).__name__
            if fault:
                tracing.fail(span, reason)
        if fault:
            log.warning("a webhook was not taken", prediction=prediction.id, reason=fault)
        await self._deliveries.finish(delivery_id, self._front_id, not fault)


def _about(url: str) -> dict[str, str | int | None]:
    """Return the attributes of a call's span: the rest of the URL may have secrets in it."""
    parts = urlsplit(url)
    return {
        "http.request.method": "POST",
        "server.address": parts.hostname,
        "server.port": parts.port or (443 if parts.scheme == "https" else 80),
    }
