"""The client of one Cog endpoint: HTTP and server-sent events."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncGenerator, Mapping
from contextlib import suppress
from typing import Any

import httpx2

from hosting import tracing
from hosting.states import FINISHED, FailureKind, State, Status

ISOLATED = "cog-alone"
"""The header of a prediction that is to run isolated, where the endpoint is a cluster."""
SLOTS = "cog-slots"
"""The header in which a cluster's `/health-check` says how many predictions at once it takes."""
PIECE_BYTES = 2**18
"""Of a request's body, sent at a time: what is sent at once is copied as a whole."""
LARGEST_EVENT_BYTES = 256 * 1024 * 1024
"""Bytes of one event: a picture of 2048 × 2048 px is a tenth of it."""
PREFIXES = re.compile(
    r"^(?:Prediction failed: |Async prediction failed: )+(?:(?P<kind>Input|Nsfw)Error: )?"
)
"""Cog's prefixes before the predictor's sentence. The kind of failure
the predictor says by a metric; of one that does not, the error's name in this prose does."""
DISK_FULL = re.compile(
    r"^(?:Prediction failed: |Async prediction failed: )+(?:OSError:? )?\[Errno (?:28|122)\]"
)
"""Cog's sentence where the worker could not write a file: no space, or no quota, is left."""
KINDS = {"Input": FailureKind.INPUTS, "Nsfw": FailureKind.NSFW}
CANCELLATION = re.compile(r"(?:Failed to submit coroutine: )?CancelationException\b")
"""In Cog's error where it was told to stop a run in the middle of starting it.

Source: https://github.com/replicate/cog/issues/2212.
"""
FAILURE = "failure"
"""The metric by which the predictor says why it fails: a FailureKind, or MEMORY."""
MEMORY = "memory"
CONTEXT = {"previews": "on"}
"""What a request says beside the inputs: that the predictor may show previews."""


class Busy(Exception):
    """All slots of the endpoint are taken."""


class Unreachable(Exception):
    """The endpoint can't take the prediction now: it is not there, or not ready."""


class Died(Exception):
    """The endpoint, or its worker, went down while it ran the prediction."""


class DiskFull(Exception):
    """The disk of the endpoint's machine is full, which is no fault of the prediction."""


class OutOfMemory(Exception):
    """The memory of the endpoint's machine did not suffice, as far as the prediction came."""


class Refused(Exception):
    """The endpoint does not take the inputs. The message is for the client."""


WANTED = "cog-wanted"
"""The header by which a cluster that has no replica is told that one is wanted."""


class Cog:
    """One Cog endpoint, or a cluster that speaks like one.

    Args:
        url: of Cog's server.
        path: of the Unix socket that it listens at, if any.
    """

    def __init__(self, url: str, path: str | None = None) -> None:
        self.url = url
        self.slots: int | None = None
        """The predictions at once that a cluster takes, by its last answer."""
        self.setup_logs = ""
        """What the predictor printed while it was set up, by the last answer."""
        self._http = client(url, path)

    async def status(self, is_wanted: bool = False) -> State:
        """Ask the endpoint for its state.

        One whose slots are all taken is READY too: they are counted elsewhere.

        Args:
            is_wanted: whether a cluster that has given its cards back is to start again.
        """
        try:
            wish = {WANTED: "1"} if is_wanted else {}
            answer = await self._http.get("/health-check", timeout=5, headers=wish)
            document = answer.json()
            state = State(document["status"])
            self.slots = int(answer.headers[SLOTS]) if SLOTS in answer.headers else None
            setup = document.get("setup")
            self.setup_logs = str(setup.get("logs", "")) if isinstance(setup, dict) else ""
        except (httpx2.HTTPError, ValueError, KeyError, TypeError):
            return State.UNREACHABLE
        return State.READY if state is State.BUSY else state

    async def schema(self) -> dict[str, Any]:
        """Return the endpoint's OpenAPI document.

        Raises:
            Unreachable: when it gives none.
        """
        try:
            answer = await self._http.get("/openapi.json", timeout=10)
            document: dict[str, Any] = answer.raise_for_status().json()
            document["components"]["schemas"]["Input"]["properties"]
        except (httpx2.HTTPError, ValueError, KeyError, TypeError) as error:
            raise Unreachable(f"{self.url} gives no schema: {error}") from None
        return document

    async def predict(
        self, prediction_id: str, inputs: Mapping[str, Any], isolated: bool = False
    ) -> AsyncGenerator[tuple[str, dict[str, Any]], None]:
        """Run a prediction; yield the events' kinds and data, `completed` the last.

        Kinds are start, log, metric, output and completed. Who stops listening cancels it. Of one
        that failed, `completed` has a FailureKind as `failure`.

        Args:
            isolated: whether a cluster is to run it with no other beside it.

        Raises:
            Busy, Unreachable: when it was not begun.
            Died: when it may have been, and won't end.
            Refused: when its inputs are none.
        """
        body = json.dumps({"input": dict(inputs), "context": CONTEXT}, ensure_ascii=False).encode()
        del inputs
        headers = {
            "Accept": "text/event-stream",
            "Content-Type": "application/json",
            "Content-Length": str(len(body)),
            **({ISOLATED: "1"} if isolated else {}),
            **tracing.headers(),
        }
        content = _pieces(body)
        del body
        try:
            async with self._http.stream(
                "PUT", f"/predictions/{prediction_id}", content=content, headers=headers
            ) as answer:
                if answer.status_code != 200:
                    await answer.aread()
                    raise _refusal(answer)
                failure: object = None
                events = httpx2.EventSource(answer, max_event_size=LARGEST_EVENT_BYTES)
                async for event in events:
                    data = event.json()
                    if not isinstance(data, dict):
                        raise Died(f"it sent {event.event} without data")
                    if event.event == "completed":
                        yield event.event, _completed(data, failure)
                        return
                    if event.event == "metric" and data.get("name") == FAILURE:
                        failure = data.get("value")
                    else:
                        yield event.event, data
        except ValueError:
            raise Died("it sent something that is not JSON") from None
        except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
            raise Unreachable(fault_of(error)) from None
        except httpx2.HTTPError as error:
            raise Died(fault_of(error)) from None
        raise Died("it ended without a result")

    async def cancel(self, prediction_id: str) -> None:
        """Stop a prediction, if it runs there."""
        with suppress(httpx2.HTTPError):  # then its stream ends too
            await self._http.post(f"/predictions/{prediction_id}/cancel", timeout=10)

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()


def client(url: str, path: str | None = None) -> httpx2.AsyncClient:
    """Return a client of HTTP for predictions, which may take as long as they like.

    Args:
        path: of the Unix socket that the server listens at, if any.
    """
    return httpx2.AsyncClient(
        base_url=url,
        trust_env=False,  # a proxy must not see what goes to the endpoint
        timeout=httpx2.Timeout(10, read=None, pool=None),
        transport=httpx2.AsyncHTTPTransport(uds=path) if path else None,
    )


async def _pieces(body: bytes) -> AsyncGenerator[bytes, None]:
    """Yield a body piece by piece, and keep it no longer: a run takes long, and it may be large."""
    for start in range(0, len(body), PIECE_BYTES):
        yield body[start : start + PIECE_BYTES]


def fault_of(error: httpx2.HTTPError) -> str:
    """Why there is no answer."""
    return f"{type(error).__name__}: {error}".rstrip(": ")


def _completed(data: dict[str, Any], failure: object) -> dict[str, Any]:
    """Return the data of the last event, its error as a sentence for the client.

    Args:
        failure: what kind of failure the predictor has said that it is, if any.

    Raises:
        Died: when the error is not the prediction's but the endpoint's.
        DiskFull: when the endpoint's disk is.
        OutOfMemory: when its memory is.
        Unreachable: when the prediction never came to the worker.
    """
    if data.get("status") not in FINISHED:
        raise Died(f"it ended as {data.get('status')!r}")
    status, error = Status(data["status"]), data.get("error") or ""
    metrics = {name: value for name, value in data.get("metrics", {}).items() if name != FAILURE}
    data = {**data, "status": status, "metrics": metrics, "failure": None}
    if status is Status.FAILED and CANCELLATION.match(error):
        data["status"] = status = Status.CANCELED
    if status is not Status.FAILED:
        return {**data, "error": None}
    if DISK_FULL.match(error):
        raise DiskFull(error)
    prefix = PREFIXES.match(error)
    if failure == MEMORY:
        sentence = error[prefix.end() :] if prefix else error
        raise OutOfMemory(sentence.removeprefix("MemoryError: "))
    if prefix:
        known = KINDS.get(prefix["kind"], FailureKind.INTERNAL)
        kind = next((one for one in FailureKind if one == failure), known)
        return {**data, "error": error[prefix.end() :] or None, "failure": kind}
    raise (Unreachable if error.startswith("Failed to send") else Died)(error)


def _refusal(answer: httpx2.Response) -> Exception:
    if answer.status_code == 409 or "retry-after" in answer.headers:
        return Busy()
    if answer.status_code in (400, 413, 422):
        return Refused(answer.text[:1000])
    return (Unreachable if answer.status_code == 503 else Died)(f"it answered {answer.status_code}")
